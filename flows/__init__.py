"""Prefect flows and tasks around the functions of `ingest/`. No other package imports Prefect."""

import os

from core import logs

# Prefect reads these when it is imported first. It may only talk to the configured server.
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY", "false")
os.environ.setdefault("PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT", "false")
os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")

# Prefect stores and shows the log of a run.
logs.install_redaction()
