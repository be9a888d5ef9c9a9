"""Routes for health checks."""

from fastapi import APIRouter

from core.db.checks import check_ready
from serving.api.dependencies import Context

router = APIRouter(tags=["operation"])


@router.get("/healthz")
def healthz() -> dict[str, str]:
    """Return ok: the process answers."""
    return {"status": "ok"}


@router.get("/readyz")
def readyz(context: Context) -> dict[str, str]:
    """Return ready: the database answers and the embedding model is loaded."""
    with context.services.database.connection() as connection:
        check_ready(connection)
    return {"status": "ready", "model": context.services.embedder().model.name}
