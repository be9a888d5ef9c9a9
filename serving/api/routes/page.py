"""The web page."""

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse

WEB_FOLDER = Path(__file__).parents[1] / "web"

router = APIRouter()


@router.get("/", include_in_schema=False)
def page() -> FileResponse:
    """Return the page; its scripts and styles come from /static."""
    return FileResponse(WEB_FOLDER / "index.html")
