"""Conversations as they are kept: each its owner's, for some days, without a word of any answer."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from uuid import UUID, uuid4

from psycopg.rows import class_row

from core.db.queries import load_queries
from core.errors import NotFound
from core.principal import Principal
from core.services import Services
from core.token_estimate import CHARACTERS_PER_TOKEN

QUERIES = load_queries(Path(__file__).with_name("history.sql"))
MAX_TURNS = 50  # that a conversation keeps
MAX_HISTORY_TOKENS = 400  # of earlier turns that a question is read with


@dataclass(frozen=True, slots=True)
class Turn:
    """A question as it was put, as it was asked, and what its answer cited, as far as the reader may see that today."""

    question: str
    asked_as: str
    answered: bool
    titles: list[str]
    documents: list[UUID]
    at: datetime

    @property
    def estimated_tokens(self) -> int:
        """About how many tokens the turn adds to what a model reads."""
        return (
            sum(map(len, (self.question, self.asked_as, *self.titles))) // CHARACTERS_PER_TOKEN + 1
        )


class ConversationHistory:
    """The conversations of one person in one tenant."""

    def __init__(self, services: Services, principal: Principal) -> None:
        self._services, self._principal = services, principal
        self._owner = {"groundwork.owner": principal.usage_key}

    def create_conversation(self) -> UUID:
        """A new conversation."""
        conversation = uuid4()
        with self._services.database.writing(self._principal.tenant, self._owner) as connection:
            connection.execute(QUERIES["begin"], self._query_parameters(conversation))
        return conversation

    def latest_conversation(self) -> UUID | None:
        """The conversation that was last spoken in, if there is one."""
        with self._services.database.reading(self._principal, self._owner) as connection:
            row = connection.execute(QUERIES["latest"], self._query_parameters(None)).fetchone()
        return row[0] if row else None

    def read_turns(self, conversation: UUID) -> list[Turn]:
        """The turns, first to last.

        Raises:
            NotFound: there is no such conversation, or it is somebody else's, or has expired.
        """
        with (
            self._services.database.reading(self._principal, self._owner) as connection,
            connection.cursor(row_factory=class_row(Turn)) as cursor,
        ):
            values = self._query_parameters(conversation)
            if not connection.execute(QUERIES["exists"], values).fetchone():
                raise _not_found_error()
            return cursor.execute(QUERIES["turns"], values).fetchall()[::-1]

    def recent_turns(self, conversation: UUID) -> list[Turn]:
        """The last turns, first to last, as many as `HISTORY_TOKENS` allow; raises as `read` does."""
        kept: list[Turn] = []
        tokens = 0
        for turn in reversed(self.read_turns(conversation)):
            tokens += turn.estimated_tokens
            if tokens > MAX_HISTORY_TOKENS:
                break
            kept.append(turn)
        return kept[::-1]

    def add_turn(
        self,
        conversation: UUID,
        question: str,
        asked_as: str,
        documents: list[UUID],
        *,
        answered: bool,
        leans_on: UUID | None,
    ) -> None:
        """Add a turn; the oldest go beyond `MOST_TURNS`. Nothing happens if the conversation was deleted meanwhile."""
        values = self._query_parameters(conversation) | {
            "question": question,
            "asked_as": asked_as,
            "answered": answered,
            "documents": documents,
            "leans_on": leans_on,
        }
        with self._services.database.writing(self._principal.tenant, self._owner) as connection:
            if connection.execute(QUERIES["prolong"], values).fetchone():
                connection.execute(QUERIES["add_turn"], values)
                connection.execute(QUERIES["forget_turns"], values)

    def delete(self, conversation: UUID) -> None:
        """Delete a conversation; raises as `read` does."""
        with self._services.database.writing(self._principal.tenant, self._owner) as connection:
            if not connection.execute(
                QUERIES["delete"], self._query_parameters(conversation)
            ).fetchone():
                raise _not_found_error()

    def _query_parameters(self, conversation: UUID | None) -> dict[str, object]:
        return {
            "tenant": self._principal.tenant,
            "owner": self._principal.usage_key,
            "conversation": conversation,
            "days": self._services.settings.conversation_days,
            "most": MAX_TURNS,
        }


def delete_expired_conversations(
    services: Services, tenant: str, *, dry_run: bool = False
) -> tuple[int, int]:
    """How many of a tenant's conversations have expired, and how many of those were deleted."""
    with services.database.writing(tenant) as connection:
        row = connection.execute(QUERIES["expired"], {"tenant": tenant}).fetchone()
        found = row[0] if row else 0
        if not found or dry_run:
            return found, 0
        row = connection.execute(QUERIES["sweep"], {"tenant": tenant}).fetchone()
        return found, row[0] if row else 0


def _not_found_error() -> NotFound:
    return NotFound("There is no such conversation of yours; start a new one.")
