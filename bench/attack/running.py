"""Course of the attack: kinds, requests, order, control. Start at `measure_attack`."""

import contextlib
import io
import logging
import random
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psycopg
import structlog
from psycopg import sql

from bench.attack import retrieving, sessions, web
from bench.attack.bystanders import observe_unrelated_changes
from bench.attack.commands import run_random_command
from bench.attack.estate import Estate, fill_database
from bench.attack.target import (
    Attack,
    AttackCount,
    CachingEmbedder,
    Observation,
    Target,
    question_about,
)
from core.db.database import Connection, Database
from core.db.migrate import migrate_database
from core.embedding import Embedder, describe_model, load_embedder
from core.local_postgres import EmbeddedPostgres
from core.services import LoadedEmbedders, Services
from core.settings import Settings
from serving.api.app import build_api

ProgressCallback = Callable[[str, int], object]

CONTROL_REQUESTS = 40  # for each kind; a third of it for slow kinds

# Attack, requests per thousand, and the least number of requests, by title.
PARALLEL_ATTACKS: Mapping[str, tuple[Attack, float, int]] = {
    "searches: every mode, filters that name others, explained": (
        retrieving.attack_search,
        300,
        20,
    ),
    "questions": (retrieving.attack_answer, 60, 20),
    "documents by others' ids": (retrieving.attack_document, 120, 20),
    "hidden against absent": (web.compare_hidden_and_absent, 40, 20),
    "LlamaIndex adapters": (retrieving.attack_llamaindex, 5, 12),
    "all routes, in process": (web.attack_routes(web.in_process), 200, 20),
    "all routes, over HTTP": (web.attack_routes(web.over_http), 70, 40),
    "others' conversations": (web.attack_conversations, 20, 40),
    "others named in the address": (web.attack_parameters, 30, 20),
    "forged, expired and foreign tokens": (web.send_false_token, 60, 60),
    "requests within requests": (web.smuggle_requests, 10, 30),
    "closed connections": (web.abort_request, 5, 15),
}
TENANT_REMOVED = "statements without their tenant"
TENANT_NEGATED = "statements with the tenant negated"
REUSED = "connections after errors, cancellations, timeouts"
KILLED = "connections after all were terminated"
ATTEMPTED = "roles, settings, functions, catalogues"
TABLES = "every table and partition, directly"
SEQUENTIAL_ATTACKS: Mapping[str, tuple[Attack, float, int]] = {
    "commands": (run_random_command, 2, 12),
    "starts as owner, superuser and similar roles": (sessions.start_with_other_role, 0.5, 12),
    "numbers, while others gain and lose documents": (observe_unrelated_changes, 0.5, 3),
}


@dataclass(slots=True)
class Result:
    """Result of the attack; `control` has the counts of the same attacks without any defence."""

    counts: dict[str, AttackCount] = field(default_factory=dict)
    control: dict[str, AttackCount] = field(default_factory=dict)
    log_lines: int = 0
    log_leaks: int = 0
    damage: str = ""

    @property
    def requests(self) -> int:
        """Return the number of requests, without the control."""
        return sum(count.requests for count in self.counts.values())

    @property
    def own(self) -> int:
        """Return the number of replies with data of the caller."""
        return sum(count.own for count in self.counts.values())

    @property
    def leaks(self) -> int:
        """Return the number of leaks."""
        return sum(count.leaks for count in self.counts.values())

    @property
    def failed(self) -> bool:
        """Return whether anything leaked or was changed."""
        return bool(self.leaks or self.log_leaks or self.damage)

    def undetected_attacks(self) -> list[str]:
        """Return the attacks of the control that did not leak."""
        return [name for name, count in self.control.items() if not count.leaks]

    def examples(self) -> list[str]:
        """Return some leaks of each kind, in full."""
        return [
            f"{name}: {example}"
            for name, count in self.counts.items()
            for example in count.examples[:3]
        ]

    def to_json(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        rows = [
            {"attack": name, "requests": count.requests, "own": count.own, "leaks": count.leaks}
            | ({"control": self.control[name].leaks} if name in self.control else {})
            for name, count in self.counts.items()
        ]
        return {
            "attacks": rows,
            "requests": self.requests,
            "leaks": self.leaks,
            "log_lines": self.log_lines,
            "log_leaks": self.log_leaks,
            "damage": self.damage,
        }


def measure_attack(
    home: Path,
    folder: Path,
    requests: int,
    tenants: int,
    threads: int,
    seed: int,
    on_progress: ProgressCallback,
) -> Result:
    """Attack a new database on the embedded server of `home`; `folder` is for the documents."""
    settings = Settings(home=home, database_url="")
    server = EmbeddedPostgres(home / "postgres")
    server.start()
    embedder = load_embedder(settings.embedding_model)
    name = f"attack_{uuid.uuid4().hex[:12]}"
    try:
        with psycopg.connect(server.conninfo(dbname="postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        migrate_database(
            server.conninfo(dbname=name), lambda: describe_model(settings.embedding_model)
        )
        return attack_database(
            server, name, embedder, folder, requests, tenants, threads, seed, on_progress
        )
    finally:
        with psycopg.connect(server.conninfo(dbname="postgres"), autocommit=True) as connection:
            connection.execute(
                sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name))
            )
        server.stop()


def attack_database(
    server: EmbeddedPostgres,
    name: str,
    embedder: Embedder,
    folder: Path,
    requests: int,
    tenants: int,
    threads: int,
    seed: int,
    on_progress: ProgressCallback = lambda stage, total: None,
    control: int = CONTROL_REQUESTS,
) -> Result:
    """Fill a migrated, empty database of a server, and attack it."""

    def admin() -> Connection:
        options = "-c search_path=groundwork,public"
        return psycopg.connect(server.conninfo(dbname=name), autocommit=True, options=options)

    chance = random.Random(seed)  # noqa: S311
    address = server.conninfo("groundwork_app", name)
    caching_embedder = CachingEmbedder(embedder)
    settings = Settings(home=server.folder.parent, database_url=address)
    result = Result()
    with (
        Services(
            settings,
            Database(address).open(),
            embedders=LoadedEmbedders({embedder.model.name: caching_embedder}),
        ) as services,
        tempfile.TemporaryDirectory(dir=folder) as documents,
    ):
        estate = fill_database(
            services,
            admin,
            Path(documents),
            tenants,
            chance,
            lambda: on_progress("Filling", 2 * tenants),
        )
        vectors = caching_embedder.encode_ahead(
            [question_about(paper) for paper in estate.papers]
        ).tolist()
        vectors_by_id = dict(
            zip([paper.document_id for paper in estate.papers], vectors, strict=True)
        )
        api = web.build_signed_api(services)
        with (
            _capture_logs(server.log_file) as logged,
            web.serve_api(api) as port,
            Database(address, max_connections=sessions.POOL_CONNECTIONS).open() as small_pool,
        ):
            target = Target(estate, services, admin, api, port, vectors_by_id)
            attacks = _AttackRun(target, small_pool, threads, seed, on_progress)
            attacks.attack_product(requests, result)
            # Read now: later attacks write statements of their own, which appear in errors.
            result.log_lines, result.log_leaks = _count_leaking_lines(logged(), estate)
            attacks.attack_connections(requests, result)
            with admin() as connection:
                result.damage = sessions.find_damage(estate, connection)
            attacks.attack_without_defences(control, result)
    return result


@dataclass(frozen=True, slots=True)
class _AttackRun:
    """Attacks on one target. `small_pool` has fewer connections than threads."""

    target: Target
    small_pool: Database
    threads: int
    seed: int
    on_progress: ProgressCallback

    def attack_product(self, requests: int, result: Result) -> None:
        """Run the attacks that use the code of the product."""
        self._carry_out(
            "Attacking", _request_counts(PARALLEL_ATTACKS, requests), result.counts, self.threads
        )
        for title, instead, share in (
            (TENANT_REMOVED, "true", 60),
            (TENANT_NEGATED, retrieving.INVERTED_PREDICATE, 20),
        ):
            with retrieving.without_tenant_predicate(instead):
                kinds = _request_counts(
                    {title: (retrieving.read_without_predicate, share, 60)}, requests
                )
                self._carry_out(title.capitalize(), kinds, result.counts, self.threads)
        self._carry_out(
            "Commands, starts, numbers",
            _request_counts(SEQUENTIAL_ATTACKS, requests),
            result.counts,
            1,
        )

    def attack_connections(self, requests: int, result: Result) -> None:
        """Run the attacks that need only the application's database connection."""
        self._carry_out(
            "Connections",
            _request_counts(self._connection_attacks(), requests),
            result.counts,
            self.threads,
        )
        kinds = _request_counts(
            {KILLED: (sessions.kill_connections(self.small_pool), 0.5, 5)}, requests
        )
        self._carry_out("Ended connections", kinds, result.counts, 1)

    def attack_without_defences(self, requests: int, result: Result) -> None:
        """Run the same attacks without any defence: each must leak."""
        open_api = build_api(self.target.services, web.TrustingIdentity())
        target = replace(self.target, api=open_api)
        kinds = {
            name: attack
            for name, (attack, _, _) in {
                **PARALLEL_ATTACKS,
                **SEQUENTIAL_ATTACKS,
                **self._connection_attacks(),
            }.items()
        }
        kinds[TENANT_REMOVED] = retrieving.read_without_predicate
        with (
            _without_row_security(target.admin),
            retrieving.without_tenant_predicate(),
            patch("core.db.database.check_isolation"),
        ):
            undefended = replace(self, target=target)
            chosen = {
                name: (attack, requests if name not in SEQUENTIAL_ATTACKS else requests // 3)
                for name, attack in kinds.items()
            }
            undefended._carry_out("Control", chosen, result.control, 1)

    def _connection_attacks(self) -> Mapping[str, tuple[Attack, float, int]]:
        return {
            REUSED: (sessions.reuse_after_error(self.small_pool), 10, 100),
            ATTEMPTED: (sessions.attempt_statements(self.small_pool), 5, 150),
            TABLES: (sessions.read_every_table(self.small_pool), 5, 100),
        }

    def _carry_out(
        self,
        stage: str,
        kinds: Mapping[str, tuple[Attack, int]],
        counts: dict[str, AttackCount],
        threads: int,
    ) -> None:
        """Run a number of attacks of each kind, in random order, in several threads."""
        order = [name for name, (_, number) in kinds.items() for _ in range(number)]
        random.Random(self.seed).shuffle(order)  # noqa: S311
        for name in kinds:
            counts.setdefault(name, AttackCount())
        waiting, lock = iter(order), threading.Lock()

        def work(worker: int) -> None:
            chance = random.Random(f"{self.seed} {stage} {worker}")  # noqa: S311
            while True:
                with lock:
                    name = next(waiting, None)
                if name is None:
                    return
                try:
                    observation = kinds[name][0](self.target, chance)
                except Exception as error:  # a broken attack does not prove that nothing leaks
                    observation = Observation(
                        None, "", repr(error), f"unexpected error: {type(error).__name__}: {error}"
                    )
                with lock:
                    counts[name].add(self.target.estate, observation)
                    self.on_progress(stage, len(order))

        workers = [threading.Thread(target=work, args=(worker,)) for worker in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()


def _request_counts(
    kinds: Mapping[str, tuple[Attack, float, int]], requests: int
) -> dict[str, tuple[Attack, int]]:
    """Return the number of requests for each kind, of `requests` in total."""
    return {
        name: (attack, max(least, round(requests * share / 1000)))
        for name, (attack, share, least) in kinds.items()
    }


@contextlib.contextmanager
def _without_row_security(admin: Callable[[], Connection]) -> Iterator[None]:
    """Switch row-level security off on every table, for the control."""
    tables_query = (
        "select relname::text from pg_class where relnamespace = "
        "'groundwork'::regnamespace and relrowsecurity"
    )
    with admin() as connection:
        rows: list[Any] = connection.execute(tables_query).fetchall()
    for action in ("disable", "enable"):
        with admin() as connection:
            for (table,) in rows:
                change = sql.SQL("alter table {} {} row level security")
                connection.execute(change.format(sql.Identifier(table), sql.SQL(action)))
        if action == "disable":
            yield


@contextlib.contextmanager
def _capture_logs(server_log: Path) -> Iterator[Callable[[], str]]:
    """Capture the logs of service, libraries and database server; yield a function to read them."""
    log, before = io.StringIO(), server_log.stat().st_size if server_log.exists() else 0
    handler = logging.StreamHandler(log)
    logging.getLogger().addHandler(handler)
    processors = structlog.processors
    structlog.configure(
        processors=[
            processors.add_log_level,
            processors.format_exc_info,
            processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.INFO
        ),  # a command may have raised the level
        logger_factory=structlog.WriteLoggerFactory(file=log),
    )

    def read_logs() -> str:
        server_output = server_log.read_bytes()[before:] if server_log.exists() else b""
        return log.getvalue() + server_output.decode(errors="replace")

    try:
        yield read_logs
    finally:
        structlog.reset_defaults()
        logging.getLogger().removeHandler(handler)


def _count_leaking_lines(log: str, estate: Estate) -> tuple[int, int]:
    """Return the number of lines of a log, and of those with any mark."""
    lines = log.splitlines()
    return len(lines), sum(bool(estate.find_leaks(None, "", line)) for line in lines)
