"""Prefect, and only Prefect: flows and tasks around the functions of the folders below."""

import os

from core import logs

# Prefect reads these when it is first imported. It is not to talk to anyone but the server it is given.
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY", "false")
os.environ.setdefault("PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT", "false")
os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")

# Prefect keeps and shows what is logged in a run.
logs.install_redaction()
