"""Routes for documents and for the caller's identity, which the page needs to show a quote."""

from uuid import UUID

from fastapi import APIRouter

from serving.api.dependencies import Caller, Context
from serving.api.schemas import DocumentOut, Me
from serving.api.stored_document import fetch_document

router = APIRouter(prefix="/v1")


@router.get("/documents/{document_id}", tags=["documents"])
def document(document_id: UUID, caller: Caller, context: Context) -> DocumentOut:
    """Return a document's text and structure, to show a quote in its place."""
    return DocumentOut.model_validate(
        fetch_document(context.services.database, caller, document_id)
    )


@router.get("/me", tags=["identity"])
def me(caller: Caller, context: Context) -> Me:
    """Return the identity of the caller."""
    return Me(
        tenant=caller.tenant,
        groups=list(caller.groups),
        identity=context.identity.name,
        tenants=list(context.identity.tenants),
    )
