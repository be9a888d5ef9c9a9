# One image for all of Groundwork's containers in docker-compose.yml.
#
#   docker build -t groundwork:local .
#   docker build -t groundwork:local --build-arg TORCH_INDEX=... .    (package index with CPU builds of PyTorch; saves gigabytes)
#
# One stage is enough: every dependency is a wheel, so the image has no build tools.
FROM python:3.11-slim-bookworm

# Mount points of the named volumes. A new volume gets its owner and mode from here.
RUN groupadd --gid 10001 groundwork \
 && useradd --uid 10001 --gid groundwork --no-create-home --home-dir /tmp --shell /usr/sbin/nologin groundwork \
 && install -d -o groundwork -g groundwork -m 0755 /secrets/database \
 && install -d -o groundwork -g groundwork -m 0700 /secrets/admin /secrets/application \
      /var/lib/groundwork /var/lib/groundwork/prefect /var/lib/groundwork/models \
 && python3 -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH

# Dependencies first, so that a change of the code does not install them again.
ARG TORCH_INDEX=""
COPY requirements.lock /app/
RUN pip install --no-cache-dir --disable-pip-version-check ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} \
      --requirement /app/requirements.lock

# Install and compile the code now: later nothing can be written. Only the folders that commands use stay here.
# All files are made readable: the umask of the clone may be strict.
WORKDIR /app
COPY . /app/
RUN chmod -R a+rX,go-w /app \
 && pip install --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation /app \
 && find . -mindepth 1 -maxdepth 1 ! -name sample ! -name ops -exec rm -r {} +

# Switch off telemetry of Prefect and Hugging Face, and use home folders that are writable.
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    DO_NOT_TRACK=1 PREFECT_SERVER_ANALYTICS_ENABLED=false PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY=false \
    PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT=false HF_HUB_DISABLE_TELEMETRY=1 \
    PREFECT_HOME=/tmp/prefect HF_HOME=/var/lib/groundwork/models GROUNDWORK_HOME=/tmp/groundwork
USER 10001:10001
CMD ["groundwork", "--help"]
