"""robots.txt as RFC 9309 has it: the groups for our name, else those for all; the longest rule that matches decides."""

from dataclasses import dataclass
from urllib.parse import unquote

MAX_BYTES = 512_000  # The RFC asks for 500 KiB at least; what is beyond is not read.


@dataclass(frozen=True, slots=True)
class Robots:
    """What a site asks of us: rules as (pattern, allowed), and seconds between two requests."""

    rules: tuple[tuple[str, bool], ...] = ()
    delay: float = 0.0

    def allows(self, target: str) -> bool:
        """Whether a path with its query may be fetched."""
        path = unquote(target)
        matching = [
            (len(pattern), allowed) for pattern, allowed in self.rules if _matches(path, pattern)
        ]
        return max(matching, default=(0, True))[1]


ALL = Robots()
NOTHING = Robots((("/", False),))


def parse_robots(text: str, name: str) -> Robots:
    """The rules for a crawler called `name` (lower case)."""
    groups: dict[str, list[tuple[str, bool]]] = {}
    delays: dict[str, float] = {}
    agents: list[str] = []
    naming = False
    for line in text.removeprefix("\ufeff").splitlines():
        key, _, value = line.partition("#")[0].partition(":")
        key, value = key.strip().lower(), value.strip()
        if key == "user-agent":
            agent = value.lower().partition("/")[0].strip()
            agents = [*agents, agent] if naming else [agent]
            groups.setdefault(agent, [])
        elif key in ("allow", "disallow") and value:
            for agent in agents:
                groups[agent].append((unquote(value), key == "allow"))
        elif key == "crawl-delay":
            delays |= dict.fromkeys(agents, _seconds(value))
        naming = key == "user-agent" or (naming and not key)
    ours = name if name in groups else "*"
    return Robots(tuple(groups.get(ours, ())), delays.get(ours, 0.0))


def _matches(path: str, pattern: str) -> bool:
    """Whether a path begins with a pattern; `*` stands for anything, `$` at the end for the path's end.

    Piece by piece instead of by a regular expression: a pattern full of stars must not cost more than its length.
    """
    anchored = pattern.endswith("$")
    first, *rest = pattern.removesuffix("$").split("*")
    if not path.startswith(first):
        return False
    at = len(first)
    for place, piece in enumerate(rest):
        if anchored and place == len(rest) - 1:
            return path.endswith(piece) and len(path) - len(piece) >= at
        found = path.find(piece, at)
        if found < 0:
            return False
        at = found + len(piece)
    return not anchored or at == len(path)


def _seconds(value: str) -> float:
    try:
        return max(0.0, float(value))
    except ValueError:
        return 0.0
