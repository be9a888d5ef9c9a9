"""The server process: it claims the port before anything slow begins, then runs uvicorn."""

import socket

import uvicorn

from core import logs
from core.errors import Unavailable
from core.services import Services
from serving.answering.guardrails.redaction import open_models
from serving.api.app import build_api
from serving.api.identity import IdentityProvider
from serving.usage.meter import PostgresMeter

SHUTDOWN_GRACE_SECONDS = 10  # for running requests, after SIGTERM


def claim_port(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    Raises:
        Unavailable: the port is taken, or the address does not belong to this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise Unavailable(
            f"Port {port} on {host} can't be used ({error.strerror or error})."
            " Choose another with --port."
        ) from error


def run_server(services: Services, identity: IdentityProvider, listener: socket.socket) -> None:
    """Serve until SIGINT or SIGTERM, with logs as JSON lines on standard error.

    Raises:
        InvalidInput: see `open_models`.
    """
    logs.configure_json_logging()
    with open_models(services.settings, PostgresMeter(services.database)) as models:
        config = uvicorn.Config(
            build_api(services, identity, models),
            log_config=None,
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=SHUTDOWN_GRACE_SECONDS,
        )
        uvicorn.Server(config).run(sockets=[listener])
