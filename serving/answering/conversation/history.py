"""Stored conversations.

Each belongs to one person, expires after some days, and holds no answers.
"""

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
MAX_TURNS = 50  # stored turns of a conversation
MAX_HISTORY_TOKENS = 400  # of earlier turns that help to understand a question


@dataclass(frozen=True, slots=True)
class Turn:
    """A question, its standalone form, and the cited documents that the reader may still see."""

    question: str
    asked_as: str
    answered: bool
    titles: list[str]
    documents: list[UUID]
    at: datetime

    @property
    def estimated_tokens(self) -> int:
        """Return about how many tokens the turn adds to a prompt."""
        texts = (self.question, self.asked_as, *self.titles)
        return sum(map(len, texts)) // CHARACTERS_PER_TOKEN + 1


class ConversationHistory:
    """The conversations of one person in one tenant.

    Methods that take a conversation raise NotFound if it does not exist, has expired, or belongs to
    somebody else.
    """

    def __init__(self, services: Services, principal: Principal) -> None:
        self._services, self._principal = services, principal
        self._owner = {"groundwork.owner": principal.usage_key}

    def create_conversation(self) -> UUID:
        """Create a conversation and return its id."""
        conversation = uuid4()
        with self._services.database.writing(self._principal.tenant, self._owner) as connection:
            connection.execute(QUERIES["create_conversation"], self._query_parameters(conversation))
        return conversation

    def latest_conversation(self) -> UUID | None:
        """Return the conversation with the latest question, if there is one."""
        with self._services.database.reading(self._principal, self._owner) as connection:
            values = self._query_parameters(None)
            row = connection.execute(QUERIES["latest_conversation"], values).fetchone()
        return row[0] if row else None

    def read_turns(self, conversation: UUID) -> list[Turn]:
        """Return the turns, oldest first."""
        values = self._query_parameters(conversation)
        with (
            self._services.database.reading(self._principal, self._owner) as connection,
            connection.cursor(row_factory=class_row(Turn)) as cursor,
        ):
            if not connection.execute(QUERIES["conversation_exists"], values).fetchone():
                raise _not_found_error()
            return cursor.execute(QUERIES["read_turns"], values).fetchall()[::-1]

    def recent_turns(self, conversation: UUID) -> list[Turn]:
        """Return the last turns that fit `MAX_HISTORY_TOKENS`, oldest first."""
        recent: list[Turn] = []
        tokens = 0
        for turn in reversed(self.read_turns(conversation)):
            tokens += turn.estimated_tokens
            if tokens > MAX_HISTORY_TOKENS:
                break
            recent.append(turn)
        return recent[::-1]

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
        """Add a turn and drop those beyond `MAX_TURNS`.

        Do nothing if the conversation was deleted meanwhile.
        """
        values = self._query_parameters(conversation) | {
            "question": question,
            "asked_as": asked_as,
            "answered": answered,
            "documents": documents,
            "leans_on": leans_on,
        }
        with self._services.database.writing(self._principal.tenant, self._owner) as connection:
            if connection.execute(QUERIES["extend_conversation"], values).fetchone():
                connection.execute(QUERIES["add_turn"], values)
                connection.execute(QUERIES["delete_oldest_turns"], values)

    def delete(self, conversation: UUID) -> None:
        """Delete a conversation."""
        values = self._query_parameters(conversation)
        with self._services.database.writing(self._principal.tenant, self._owner) as connection:
            if not connection.execute(QUERIES["delete_conversation"], values).fetchone():
                raise _not_found_error()

    def _query_parameters(self, conversation: UUID | None) -> dict[str, object]:
        return {
            "tenant": self._principal.tenant,
            "owner": self._principal.usage_key,
            "conversation": conversation,
            "days": self._services.settings.conversation_days,
            "max_turns": MAX_TURNS,
        }


def delete_expired_conversations(
    services: Services, tenant: str, *, dry_run: bool = False
) -> tuple[int, int]:
    """Delete a tenant's expired conversations; return how many expired and were deleted."""
    values = {"tenant": tenant}
    with services.database.writing(tenant) as connection:
        row = connection.execute(QUERIES["count_expired"], values).fetchone()
        expired = row[0] if row else 0
        if not expired or dry_run:
            return expired, 0
        row = connection.execute(QUERIES["delete_expired"], values).fetchone()
        return expired, row[0] if row else 0


def _not_found_error() -> NotFound:
    return NotFound("You have no such conversation. Start a new one.")
