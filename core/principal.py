"""The principal: who asks, for which tenant and with which groups."""

import hashlib
from dataclasses import dataclass

from core.errors import InvalidInput

GROUP_SEPARATOR = "\x1f"  # as in the function current_groups(); no name can hold it
MAX_NAME_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is asking: one tenant, and the groups they belong to in it. `subject` is the person or program, `team` whom
    they work for; both say who pays, and neither opens a document.

    Raises:
        InvalidInput: an empty or unprintable tenant or group name, or an unprintable team.
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
        """The subject as usage records name it: 64 bits of a SHA-256, the same for each of their tokens."""
        return hashlib.sha256(f"{self.tenant}{GROUP_SEPARATOR}{self.subject}".encode()).hexdigest()[
            :16
        ]


def check_name(kind: str, name: str) -> str:
    """A tenant's, group's or team's name, refused when it is empty, too long or not printable."""
    if not name.strip() or not name.isprintable() or len(name) > MAX_NAME_CHARACTERS:
        raise InvalidInput(
            f"A {kind} name is 1 to {MAX_NAME_CHARACTERS} printable characters; {name[:40]!r} is not."
        )
    return name
