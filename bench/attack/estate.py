"""The estate under attack: tenants full of canaries, and the truth about who may see which.

A canary is a word that stands in one place only: in one document's text, title, heading, metadata or path. A document
has one of each: who knows one of them and sends it would show by any of the others that it got through.
"""

import json
import random
import re
import shutil
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from psycopg import sql

from core.db.database import Connection
from core.principal import Principal
from core.services import Services
from ingest import pipeline
from ingest.runs.repair import repair_tenant
from ingest.sandbox.pool import ParserPool
from serving.answering.conversation.history import ConversationHistory

GROUPS = ("finance", "legal", "guards")
LETTERS = "bcdfghjklmnpqrtvwxz"
CANARY = re.compile(rf"qz[{LETTERS}]{{12}}")
IDENTIFIER = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
OPERATOR = "\x1foperator"  # whoever sits at a tenant's command line; no group can be called that
SPEAKER = "\x1fspeaker"  # whose the conversations are: the subject of no attacker's token, and no group is called that
PARALLEL_TENANTS = 3  # tenants that are filled at the same time

Audience = tuple[str, str]  # a tenant, and a group in it: "" for everyone there

DOCUMENTS_QUERY = sql.SQL(
    "select d.tenant_id, d.path, d.uri, d.document_id::text, r.readers, count(c.chunk_id)"
    " from document d join reader_set r using (tenant_id, reader_set_id)"
    " left join chunk c using (tenant_id, document_id) group by 1, 2, 3, 4, 5 order by 1, 2"
)


@dataclass(frozen=True, slots=True)
class Draft:
    """A file of a tenant's folder."""

    path: str
    body: str
    readers: tuple[str, ...] = ()

    @property
    def canaries(self) -> tuple[str, ...]:
        """Those of its title, metadata, headings and text, then those of its path."""
        return (*dict.fromkeys(CANARY.findall(self.body)), *CANARY.findall(self.path))


@dataclass(frozen=True, slots=True)
class Paper:
    """A document that an attacker may know of: its id, who may read it, and its canaries by where they stand."""

    tenant: str
    path: str
    uri: str
    document_id: str
    readers: frozenset[str]
    chunks: int
    canaries: tuple[str, ...]

    def is_readable_by(self, principal: Principal) -> bool:
        """Whether the principal may read it."""
        return principal.tenant == self.tenant and (
            not self.readers or not self.readers.isdisjoint(principal.groups)
        )


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation of somebody in a tenant; its one question holds a canary. Nobody else may know of it."""

    tenant: str
    conversation_id: str
    canary: str


@dataclass(slots=True)
class Estate:
    """The tenants, their documents and conversations, whose each canary and each id is, and what was deleted."""

    tenants: tuple[str, ...] = ()
    own_groups: dict[str, str] = field(
        default_factory=dict
    )  # of each tenant, the group that only it has
    owners: dict[str, set[Audience]] = field(default_factory=dict)
    papers: list[Paper] = field(default_factory=list)
    conversations: list[Conversation] = field(default_factory=list)
    _owners_lock: threading.Lock = field(default_factory=threading.Lock)
    removed_marks: list[str] = field(
        default_factory=list
    )  # canaries that nobody may see: deleted, or replaced

    def find_leaks(
        self, asker: Principal | None, sent: str, got: str, *, operator: bool = False
    ) -> list[str]:
        """The canaries and ids in an answer that the asker did not send and may not know; nobody may know any.

        An operator may know all of a tenant's.
        """
        found = find_marks(got)
        if asker is not None:
            sent = f"{sent} {asker.tenant} {asker.groups}"
        return (
            [mark for mark in found - find_marks(sent) if not self._may_know(asker, mark, operator)]
            if found
            else []
        )

    def _may_know(self, asker: Principal | None, mark: str, operator: bool) -> bool:
        owners = self.owners.get(mark)
        if owners is None:
            return True  # no canary of ours
        if asker is None:
            return False
        return any(
            tenant == asker.tenant and (operator or group in ("", *asker.groups))
            for tenant, group in owners
        )

    def shows_own_data(self, asker: Principal | None, sent: str, got: str) -> bool:
        """Whether an answer holds something that is the asker's own, and that they did not send."""
        if asker is None:
            return False
        fresh = find_marks(got) - find_marks(f"{sent} {asker.tenant} {asker.groups}")
        return any(mark in self.owners and self._may_know(asker, mark, True) for mark in fresh)

    def count_readable(self, principal: Principal) -> tuple[int, int]:
        """How many documents a principal may see, and how many passages of them."""
        seen = [paper.chunks for paper in self.papers if paper.is_readable_by(principal)]
        return len(seen), sum(seen)

    def groups(self, tenant: str) -> tuple[str, ...]:
        """The groups of a tenant: those whose names others have too, and one of its own."""
        return (*GROUPS, self.own_groups[tenant])

    def record_owners(self, text: str, *places: Audience) -> None:
        """Note whose the canaries and ids in a text are."""
        with self._owners_lock:  # attackers claim groups while others' answers are judged: a set that is read never changes
            for mark in find_marks(text):
                self.owners[mark] = {*self.owners.get(mark, ()), *places}


def find_marks(text: str) -> set[str]:
    """All that may give something away in a text: words in the form of a canary, and ids."""
    lowered = text.lower()
    return {*CANARY.findall(lowered), *IDENTIFIER.findall(lowered)}


def make_canary(chance: random.Random) -> str:
    """A word that stands nowhere else."""
    return "qz" + "".join(chance.choices(LETTERS, k=12))


def fill_database(
    services: Services,
    admin: Callable[[], Connection],
    folder: Path,
    tenants: int,
    chance: random.Random,
    on_run_done: Callable[[], object] = lambda: None,
) -> Estate:
    """Fill an empty database, every tenant in two runs, so that versions are replaced and documents deleted.

    `admin` connects as one who sees everything; `done` is called after each of the 2 * tenants runs.
    """
    estate = Estate()
    estate.tenants = tuple(f"tenant-{number}-{make_canary(chance)}" for number in range(tenants))
    estate.own_groups = {tenant: f"staff-{make_canary(chance)}" for tenant in estate.tenants}
    shared = [gate_document(chance) for _ in estate.tenants[::2]]
    first = {
        tenant: _make_first_edition(
            tenant, estate.own_groups[tenant], shared[number // 2], bool(number % 2), chance
        )
        for number, tenant in enumerate(estate.tenants)
    }
    second = {tenant: _make_second_edition(drafts, chance) for tenant, drafts in first.items()}
    _note_owners(estate, first, second)
    with ParserPool() as reader, ThreadPoolExecutor(PARALLEL_TENANTS) as pool:
        for edition in (first, second):

            def take_in(tenant: str, drafts: dict[str, list[Draft]] = edition) -> None:
                _write_folder(folder / tenant, drafts[tenant])
                pipeline.ingest_sources(
                    services, tenant, [pipeline.build_source_spec(str(folder / tenant))], reader
                )
                on_run_done()

            list(pool.map(take_in, estate.tenants))
    for tenant in (
        estate.tenants
    ):  # as the schedule would: words of deleted documents stay in the lexicon until then
        repair_tenant(services, tenant)
        estate.conversations.append(
            _start_conversation(services, estate, tenant, make_canary(chance))
        )
    with admin() as connection:
        _read_document_ids(estate, connection, second)
    return estate


def _start_conversation(services: Services, estate: Estate, tenant: str, word: str) -> Conversation:
    """Have somebody of a tenant ask something."""
    history, question = (
        ConversationHistory(services, Principal(tenant, subject=SPEAKER)),
        f"Who gave me the code {word}?",
    )
    conversation = history.create_conversation()
    history.add_turn(conversation, question, question, [], answered=False, leans_on=None)
    estate.record_owners(f"{word} {conversation}", (tenant, SPEAKER))
    return Conversation(tenant, str(conversation), word)


def gate_document(chance: random.Random) -> str:
    """A document about one gate."""
    title, owner, tag, heading, gate, code = (make_canary(chance) for _ in range(6))
    return (
        f"---\ntitle: Gate codes {title}\nowner: {owner}\ntags: [{tag}, gates]\nyear: 2024\n---\n"
        f"# Gate codes\n\n## Section {heading}\n\nThe code of the {gate} gate is {code}."
        " It is changed every Monday by the porter.\n"
    )


def _make_first_edition(
    tenant: str, staff: str, shared: str, closed: bool, chance: random.Random
) -> list[Draft]:
    """What a tenant begins with. Some texts stand twice: for the same readers, for two groups, and for two tenants;
    `closed`: the text that it shares with a neighbour is for one group only here.
    """
    readers: dict[str, tuple[str, ...]] = {
        "all": (),
        "finance": ("finance",),
        "legal": ("legal",),
        "guards": ("guards",),
        "staff": (staff,),
        "both": ("finance", "legal"),
        "deleted": (),
        "replaced": (),
        "regrouped": (),
    }
    drafts = [
        Draft(f"{name}/{make_canary(chance)}.md", gate_document(chance), names)
        for name, names in readers.items()
    ]
    twin = gate_document(chance)
    return [
        *drafts,
        Draft(f"copy/{make_canary(chance)}.md", drafts[0].body),
        Draft(f"twin/{make_canary(chance)}.md", twin, ("finance",)),
        Draft(f"twin/{make_canary(chance)}.md", twin, ("legal",)),
        Draft(f"shared/{make_canary(chance)}.md", shared, ("guards",) if closed else ()),
    ]


def _make_second_edition(drafts: Sequence[Draft], chance: random.Random) -> list[Draft]:
    """One document less, one with new content, one that only a group may still read."""
    kept = [draft for draft in drafts if not draft.path.startswith("deleted/")]
    return [
        replace(draft, body=gate_document(chance))
        if draft.path.startswith("replaced/")
        else replace(draft, readers=("legal",))
        if draft.path.startswith("regrouped/")
        else draft
        for draft in kept
    ]


def _note_owners(
    estate: Estate, first: dict[str, list[Draft]], second: dict[str, list[Draft]]
) -> None:
    for tenant, drafts in second.items():
        estate.record_owners(tenant, (tenant, ""))
        estate.record_owners(estate.own_groups[tenant], (tenant, estate.own_groups[tenant]))
        for draft in drafts:
            for mark in draft.canaries:
                estate.record_owners(mark, *((tenant, group) for group in draft.readers or ("",)))
    for draft in (draft for drafts in first.values() for draft in drafts):
        estate.removed_marks += [mark for mark in draft.canaries if mark not in estate.owners]
    estate.owners |= {mark: set() for mark in estate.removed_marks}
    for tenant, drafts in first.items():  # what was deleted stays in the ledger, by its path
        estate.record_owners(" ".join(draft.path for draft in drafts), (tenant, OPERATOR))
    for tenant in estate.tenants:
        estate.record_owners(unreadable_file_name(tenant), (tenant, OPERATOR))


def unreadable_file_name(tenant: str) -> str:
    """The name of a tenant's file that can't be read."""
    return f"broken-{make_canary(random.Random(tenant))}.docx"


def _write_folder(folder: Path, drafts: Sequence[Draft]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    for draft in drafts:
        file = folder / draft.path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(draft.body)
    rules = [
        {"pattern": draft.path, "readers": list(draft.readers)} for draft in drafts if draft.readers
    ]
    (folder / "readers.yaml").write_text(json.dumps({"rules": rules}))
    (folder / unreadable_file_name(folder.name)).write_bytes(b"PK\x03\x04 no archive")


def _read_document_ids(
    estate: Estate, connection: Connection, drafts: dict[str, list[Draft]]
) -> None:
    """The ids that the database gave, and how many passages each document has.

    Raises:
        RuntimeError: the database does not hold what was written.
    """
    written = {(tenant, draft.path): draft for tenant, each in drafts.items() for draft in each}
    rows: list[Any] = connection.execute(DOCUMENTS_QUERY).fetchall()
    for tenant, path, uri, document_id, readers, chunks in rows:
        draft = written.pop((tenant, path), None)
        if draft is None or sorted(draft.readers) != sorted(readers):
            raise RuntimeError(
                f"The estate was not filled as planned: {path} of {tenant} is for {readers}."
            )
        paper = Paper(tenant, path, uri, document_id, frozenset(readers), chunks, draft.canaries)
        estate.papers.append(paper)
        estate.record_owners(document_id, *((tenant, group) for group in readers or ("",)))
    if written:
        raise RuntimeError(
            f"The estate was not filled as planned: {len(written)} documents are missing."
        )
    runs: list[Any] = connection.execute("select tenant_id, run_id::text from run").fetchall()
    for tenant, run_id in runs:
        estate.record_owners(run_id, (tenant, ""))
    deleted: list[Any] = connection.execute(
        "select tenant_id, document_id::text from tombstone"
    ).fetchall()
    for tenant, document_id in deleted:
        estate.record_owners(document_id, (tenant, OPERATOR))
        estate.removed_marks.append(document_id)
