# One image for everything of ours in docker-compose.yml: the service, the worker, Prefect's server, the one-shots.
#
#   docker build -t groundwork:local .
#   docker build -t groundwork:local --build-arg TORCH_INDEX=... .    an index with CPU builds of PyTorch, smaller by gigabytes
#
# One stage: every dependency comes as a wheel, so there are no build tools to leave behind.
FROM python:3.11-slim-bookworm

# /secrets and /var/lib/groundwork are where named volumes go: a new volume takes its owner and mode from here.
RUN groupadd --gid 10001 groundwork \
 && useradd --uid 10001 --gid groundwork --no-create-home --home-dir /tmp --shell /usr/sbin/nologin groundwork \
 && install -d -o groundwork -g groundwork -m 0755 /secrets/database \
 && install -d -o groundwork -g groundwork -m 0700 /secrets/admin /secrets/application \
      /var/lib/groundwork /var/lib/groundwork/prefect /var/lib/groundwork/models \
 && python3 -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH

# The dependencies before the code, so that a change of code does not install them again.
ARG TORCH_INDEX=""
COPY requirements.lock /app/
RUN pip install --no-cache-dir --disable-pip-version-check ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} \
      --requirement /app/requirements.lock

# Installed, so compiled now: nothing can be written later. What stays here is what a person names in a command.
# Readable to all, whatever the umask of the clone was.
WORKDIR /app
COPY . /app/
RUN chmod -R a+rX,go-w /app \
 && pip install --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation /app \
 && find . -mindepth 1 -maxdepth 1 ! -name sample ! -name ops -exec rm -r {} +

# Offline switches for Prefect and Hugging Face, and homes in places that can be written to.
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    DO_NOT_TRACK=1 PREFECT_SERVER_ANALYTICS_ENABLED=false PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY=false \
    PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT=false HF_HUB_DISABLE_TELEMETRY=1 \
    PREFECT_HOME=/tmp/prefect HF_HOME=/var/lib/groundwork/models GROUNDWORK_HOME=/tmp/groundwork
USER 10001:10001
CMD ["groundwork", "--help"]
