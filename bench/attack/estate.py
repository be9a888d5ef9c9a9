"""Tenants full of canaries, and the record of which caller may see which canary.

A canary is a random word that occurs in one place only: in the text, title, heading, metadata or
path of one document. Every document has one of each. A caller who sends one of them and succeeds
sees the others.
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
OPERATOR = "\x1foperator"  # of the command line; not a possible group name
SPEAKER = "\x1fspeaker"  # owner of conversations; never in a token
PARALLEL_TENANTS = 3  # filled at the same time

Audience = tuple[str, str]  # a tenant and one of its groups; "" for all

DOCUMENTS_QUERY = sql.SQL(
    "select d.tenant_id, d.path, d.uri, d.document_id::text, r.readers, count(c.chunk_id)"
    " from document d join reader_set r using (tenant_id, reader_set_id)"
    " left join chunk c using (tenant_id, document_id) group by 1, 2, 3, 4, 5 order by 1, 2"
)


@dataclass(frozen=True, slots=True)
class Draft:
    """File of a tenant's folder."""

    path: str
    body: str
    readers: tuple[str, ...] = ()

    @property
    def canaries(self) -> tuple[str, ...]:
        """Return the canaries of title, metadata, headings and text, then those of the path."""
        return (*dict.fromkeys(CANARY.findall(self.body)), *CANARY.findall(self.path))


@dataclass(frozen=True, slots=True)
class Paper:
    """Stored document: its id, readers, number of chunks, and canaries by place."""

    tenant: str
    path: str
    uri: str
    document_id: str
    readers: frozenset[str]
    chunks: int
    canaries: tuple[str, ...]

    def is_readable_by(self, principal: Principal) -> bool:
        """Return whether the principal may read it."""
        return principal.tenant == self.tenant and (
            not self.readers or not self.readers.isdisjoint(principal.groups)
        )


@dataclass(frozen=True, slots=True)
class Conversation:
    """Conversation of one user in a tenant; its question holds a canary. It is private."""

    tenant: str
    conversation_id: str
    canary: str


@dataclass(slots=True)
class Estate:
    """Tenants, documents and conversations, the owners of each mark, and the removed marks."""

    tenants: tuple[str, ...] = ()
    own_groups: dict[str, str] = field(
        default_factory=dict
    )  # by tenant: the group that only it has
    owners: dict[str, set[Audience]] = field(default_factory=dict)
    papers: list[Paper] = field(default_factory=list)
    conversations: list[Conversation] = field(default_factory=list)
    _owners_lock: threading.Lock = field(default_factory=threading.Lock)
    removed_marks: list[str] = field(default_factory=list)  # canaries of deleted or replaced texts

    def find_leaks(
        self, asker: Principal | None, sent: str, got: str, *, operator: bool = False
    ) -> list[str]:
        """Return the canaries and ids in a reply that the caller did not send and may not see.

        An anonymous caller (None) may see none, an operator all of the tenant's.
        """
        marks = find_marks(got)
        if asker is not None:
            sent = f"{sent} {asker.tenant} {asker.groups}"
        return (
            [mark for mark in marks - find_marks(sent) if not self._may_know(asker, mark, operator)]
            if marks
            else []
        )

    def _may_know(self, asker: Principal | None, mark: str, operator: bool) -> bool:
        owners = self.owners.get(mark)
        if owners is None:
            return True  # not a canary of the estate
        if asker is None:
            return False
        return any(
            tenant == asker.tenant and (operator or group in ("", *asker.groups))
            for tenant, group in owners
        )

    def shows_own_data(self, asker: Principal | None, sent: str, got: str) -> bool:
        """Return whether a reply holds data of the caller that the request did not contain."""
        if asker is None:
            return False
        fresh = find_marks(got) - find_marks(f"{sent} {asker.tenant} {asker.groups}")
        return any(mark in self.owners and self._may_know(asker, mark, True) for mark in fresh)

    def count_readable(self, principal: Principal) -> tuple[int, int]:
        """Return the number of readable documents, and of their passages."""
        chunk_counts = [paper.chunks for paper in self.papers if paper.is_readable_by(principal)]
        return len(chunk_counts), sum(chunk_counts)

    def groups(self, tenant: str) -> tuple[str, ...]:
        """Return the groups of a tenant: shared names, and one of its own."""
        return (*GROUPS, self.own_groups[tenant])

    def record_owners(self, text: str, *places: Audience) -> None:
        """Record the owners of the canaries and ids in a text."""
        with self._owners_lock:  # other threads read these sets, so replace them
            for mark in find_marks(text):
                self.owners[mark] = {*self.owners.get(mark, ()), *places}


def find_marks(text: str) -> set[str]:
    """Return the canaries and ids in a text."""
    lowered = text.lower()
    return {*CANARY.findall(lowered), *IDENTIFIER.findall(lowered)}


def make_canary(chance: random.Random) -> str:
    """Return a new random word."""
    return "qz" + "".join(chance.choices(LETTERS, k=12))


def fill_database(
    services: Services,
    admin: Callable[[], Connection],
    folder: Path,
    tenants: int,
    chance: random.Random,
    on_run_done: Callable[[], object] = lambda: None,
) -> Estate:
    """Fill an empty database, each tenant in two runs, with replaced and deleted documents.

    `admin` opens a connection that sees everything; `on_run_done` is called after each of the
    2 * tenants runs.
    """
    estate = Estate()
    estate.tenants = tuple(f"tenant-{number}-{make_canary(chance)}" for number in range(tenants))
    estate.own_groups = {tenant: f"staff-{make_canary(chance)}" for tenant in estate.tenants}
    shared = [make_gate_document(chance) for _ in estate.tenants[::2]]
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

            def ingest(tenant: str, drafts: dict[str, list[Draft]] = edition) -> None:
                _write_folder(folder / tenant, drafts[tenant])
                pipeline.ingest_sources(
                    services, tenant, [pipeline.build_source_spec(str(folder / tenant))], reader
                )
                on_run_done()

            list(pool.map(ingest, estate.tenants))
    for tenant in estate.tenants:  # as scheduled; until then the lexicon keeps deleted words
        repair_tenant(services, tenant)
        estate.conversations.append(
            _start_conversation(services, estate, tenant, make_canary(chance))
        )
    with admin() as connection:
        _read_document_ids(estate, connection, second)
    return estate


def _start_conversation(services: Services, estate: Estate, tenant: str, word: str) -> Conversation:
    """Ask a question as a user of a tenant."""
    history, question = (
        ConversationHistory(services, Principal(tenant, subject=SPEAKER)),
        f"Who gave me the code {word}?",
    )
    conversation = history.create_conversation()
    history.add_turn(conversation, question, question, [], answered=False, leans_on=None)
    estate.record_owners(f"{word} {conversation}", (tenant, SPEAKER))
    return Conversation(tenant, str(conversation), word)


def make_gate_document(chance: random.Random) -> str:
    """Return the Markdown of a document about one gate."""
    title, owner, tag, heading, gate, code = (make_canary(chance) for _ in range(6))
    return (
        f"---\ntitle: Gate codes {title}\nowner: {owner}\ntags: [{tag}, gates]\nyear: 2024\n---\n"
        f"# Gate codes\n\n## Section {heading}\n\nThe code of the {gate} gate is {code}."
        " It is changed every Monday by the porter.\n"
    )


def _make_first_edition(
    tenant: str, staff: str, shared: str, closed: bool, chance: random.Random
) -> list[Draft]:
    """Return the first documents of a tenant.

    Some texts occur twice: for the same readers, for two groups, and for two tenants. `closed`: the
    text shared with another tenant is for one group only.
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
        Draft(f"{name}/{make_canary(chance)}.md", make_gate_document(chance), names)
        for name, names in readers.items()
    ]
    twin = make_gate_document(chance)
    return [
        *drafts,
        Draft(f"copy/{make_canary(chance)}.md", drafts[0].body),
        Draft(f"twin/{make_canary(chance)}.md", twin, ("finance",)),
        Draft(f"twin/{make_canary(chance)}.md", twin, ("legal",)),
        Draft(f"shared/{make_canary(chance)}.md", shared, ("guards",) if closed else ()),
    ]


def _make_second_edition(drafts: Sequence[Draft], chance: random.Random) -> list[Draft]:
    """Return the documents with one deleted, one rewritten, and one restricted to a group."""
    remaining = [draft for draft in drafts if not draft.path.startswith("deleted/")]
    return [
        replace(draft, body=make_gate_document(chance))
        if draft.path.startswith("replaced/")
        else replace(draft, readers=("legal",))
        if draft.path.startswith("regrouped/")
        else draft
        for draft in remaining
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
    for tenant, drafts in first.items():  # the ledger keeps the paths of deleted documents
        estate.record_owners(" ".join(draft.path for draft in drafts), (tenant, OPERATOR))
    for tenant in estate.tenants:
        estate.record_owners(unreadable_file_name(tenant), (tenant, OPERATOR))


def unreadable_file_name(tenant: str) -> str:
    """Return the name of a tenant's unreadable file."""
    return f"broken-{make_canary(random.Random(tenant))}.docx"  # noqa: S311


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
    """Read the stored ids and the number of passages of each document.

    Raises:
        RuntimeError: the database does not hold the written documents.
    """
    expected = {(tenant, draft.path): draft for tenant, files in drafts.items() for draft in files}
    rows: list[Any] = connection.execute(DOCUMENTS_QUERY).fetchall()
    for tenant, path, uri, document_id, readers, chunks in rows:
        draft = expected.pop((tenant, path), None)
        if draft is None or sorted(draft.readers) != sorted(readers):
            raise RuntimeError(
                f"The estate was not filled as planned: {path} of {tenant} is for {readers}."
            )
        paper = Paper(tenant, path, uri, document_id, frozenset(readers), chunks, draft.canaries)
        estate.papers.append(paper)
        estate.record_owners(document_id, *((tenant, group) for group in readers or ("",)))
    if expected:
        raise RuntimeError(
            f"The estate was not filled as planned: {len(expected)} documents are missing."
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
