"""Principal: the tenant, groups and name of a caller."""

import hashlib
from dataclasses import dataclass

from core.errors import InvalidInput

GROUP_SEPARATOR = "\x1f"  # as in the SQL function current_groups(); not printable, so in no name
MAX_NAME_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Principal:
    """Caller. `tenant` and `groups` control access to documents.

    `subject` (person or program) owns conversations and is billed, with its `team`.

    Raises:
        InvalidInput: a name is empty, too long or not printable.
    """

    tenant: str
    groups: tuple[str, ...] = ()
    subject: str = "local"
    team: str = ""

    def __post_init__(self) -> None:
        check_name("tenant", self.tenant)
        for group in self.groups:
            check_name("group", group)
        if self.team:
            check_name("team", self.team)

    @property
    def usage_key(self) -> str:
        """Subject in usage records: 64 bits of a SHA-256, the same for all tokens of a subject."""
        name = f"{self.tenant}{GROUP_SEPARATOR}{self.subject}"
        return hashlib.sha256(name.encode()).hexdigest()[:16]


def check_name(kind: str, name: str) -> str:
    """Return the name of a tenant, group or team.

    Raises:
        InvalidInput: the name is empty, too long or not printable.
    """
    if not name.strip() or not name.isprintable() or len(name) > MAX_NAME_CHARACTERS:
        raise InvalidInput(
            f"The {kind} name {name[:40]!r} is not valid."
            f" Use 1 to {MAX_NAME_CHARACTERS} printable characters."
        )
    return name
