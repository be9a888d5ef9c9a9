"""Routes for conversations."""

from uuid import UUID

from fastapi import APIRouter, Response

from serving.answering.conversation.history import ConversationHistory
from serving.api.dependencies import Caller, Context
from serving.api.schemas import ConversationOut, TurnOut

router = APIRouter(prefix="/v1/conversations", tags=["conversations"])


@router.get("/{conversation_id}")
def conversation(conversation_id: UUID, caller: Caller, context: Context) -> ConversationOut:
    """Return the questions of one of the caller's conversations."""
    turns = ConversationHistory(context.services, caller).read_turns(conversation_id)
    return ConversationOut(
        conversation=conversation_id, turns=[TurnOut.model_validate(turn) for turn in turns]
    )


@router.delete("/{conversation_id}", status_code=204)
def forget(conversation_id: UUID, caller: Caller, context: Context) -> Response:
    """Delete one of the caller's conversations."""
    ConversationHistory(context.services, caller).delete(conversation_id)
    return Response(status_code=204)
