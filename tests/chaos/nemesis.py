"""Carries out the plan: hurts workers, the server, the network between them, and heals everything at the end."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import psycopg

from pgflow.errors import PgflowError
from pgflow.schema import install
from tests.chaos import journal
from tests.chaos.plan import Act, Deed
from tests.support import proxy as network
from tests.support.proxy import Fault

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pgflow.embedded import EmbeddedServer
    from tests.chaos.workers import Fleet
    from tests.support.nursery import Nursling
    from tests.support.proxy import Proxy

PATIENCE = 60.0
"""Seconds that the server has to be back."""

_BACKENDS = """select pid from pg_stat_activity
  where application_name like 'pgflow%' and pid <> pg_backend_pid() order by pid"""
_ACTIVE = _BACKENDS.replace("order", "and state = 'active' order")


class Nemesis:
    """One act after the other; what lasts goes on beside the next ones."""

    def __init__(self, server: EmbeddedServer, proxy: Proxy, fleet: Fleet, directory: Path) -> None:
        self.done: Counter[Deed] = Counter()
        """How often each deed was really done."""
        self.problems: list[str] = []
        self._server = server
        self._proxy = proxy
        self._fleet = fleet
        self._directory = directory
        self._stopped: dict[int, tuple[Nursling, float]] = {}
        self._migrators: list[threading.Thread] = []
        self._deeds: dict[Deed, Callable[[Act, random.Random], bool]] = {
            Deed.KILL_WORKER: self._kill_worker,
            Deed.STOP_WORKER: self._stop_worker,
            Deed.TERMINATE_WORKER: self._terminate_worker,
            Deed.IMMEDIATE_STOP: self._immediate_stop,
            Deed.KILL_BACKEND: self._kill_backend,
            Deed.TERMINATE_BACKEND: lambda act, chance: self._signal(
                chance, "pg_terminate_backend"
            ),
            Deed.CANCEL_BACKEND: lambda act, chance: self._signal(chance, "pg_cancel_backend"),
            Deed.LOSE_REPORT: self._armed(Fault.DROP_REPLY, network.REPORTS + network.COMMITS),
            Deed.LOSE_START: self._armed(Fault.DROP_REPLY, network.STARTS + network.STEERING),
            Deed.LOSE_CLAIM: self._armed(Fault.DROP_REPLY, network.CLAIMS),
            Deed.CUT_BEFORE_SEND: self._armed(
                Fault.CUT_BEFORE_SEND, network.REPORTS + network.COMMITS + network.CLAIMS
            ),
            Deed.CUT_ALL: self._cut_all,
            Deed.DELAY: self._armed(Fault.DELAY, network.REPORTS + network.COMMITS),
            Deed.BLACK_HOLE: self._armed(Fault.BLACK_HOLE, ()),
            Deed.STATEMENT_TIMEOUT: lambda act, _: self._setting(act, "statement_timeout", "1ms"),
            Deed.READ_ONLY: lambda act, _: self._setting(
                act, "default_transaction_read_only", "on"
            ),
            Deed.MIGRATE: self._migrate,
        }

    def commit(self, act: Act) -> None:
        """Wait for the act's time, and do it."""
        self._rest(act.pause)
        begin, is_done = time.monotonic(), False
        try:
            is_done = self._deeds[act.deed](act, random.Random(act.dice))
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            # The server is still starting after an act before; this one is lost, and not counted.
            journal.write("missed", self._directory, act=act.number, why=str(error))
            self._await_server()
        self.done[act.deed] += is_done
        journal.write(
            "act", self._directory, **act.describe(), done=is_done, took=time.monotonic() - begin
        )

    def heal(self) -> None:
        """End all faults; the server answers when this returns."""
        for child, _ in self._stopped.values():
            child.send(signal.SIGCONT)
        self._stopped.clear()
        for migrator in self._migrators:
            migrator.join()
        self._await_server()
        self._reset("statement_timeout")
        self._reset("default_transaction_read_only")
        self._proxy.heal()

    def _rest(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while True:
            now = time.monotonic()
            for key, (child, wakes_at) in list(self._stopped.items()):
                if now >= wakes_at:
                    child.send(signal.SIGCONT)
                    del self._stopped[key]
            if now >= until:
                return
            time.sleep(min(0.05, until - now))

    # Workers

    def _kill_worker(self, act: Act, chance: random.Random) -> bool:
        # One that has been granted something: there is little to lose with others.
        child = self._fleet.victim(
            chance, lambda child: (self._directory / f"{child.pid}.jsonl").exists()
        )
        return child is not None and self._fleet.order(child, signal.SIGKILL)

    def _terminate_worker(self, act: Act, chance: random.Random) -> bool:
        child = self._fleet.victim(chance, lambda child: id(child) not in self._stopped)
        return child is not None and self._fleet.order(child, signal.SIGTERM)

    def _stop_worker(self, act: Act, chance: random.Random) -> bool:
        child = self._fleet.victim(chance, lambda child: id(child) not in self._stopped)
        if child is None or not child.send(signal.SIGSTOP):
            return False
        self._stopped[id(child)] = (child, time.monotonic() + act.seconds)
        return True

    # The server

    def _connect(self) -> psycopg.Connection[Any]:
        settings = "-c default_transaction_read_only=off -c statement_timeout=10s"
        return psycopg.connect(
            self._server.dsn, autocommit=True, options=settings, application_name="nemesis"
        )

    def _await_server(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self._connect().close()
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                return

    def _immediate_stop(self, act: Act, chance: random.Random) -> bool:
        self._server.stop("immediate")
        self._server.start()
        return True

    def _kill_backend(self, act: Act, chance: random.Random) -> bool:
        with self._connect() as connection:
            pids = [pid for (pid,) in connection.execute(_BACKENDS)]
            if not pids:
                return False
            with suppress(ProcessLookupError):
                os.kill(chance.choice(pids), signal.SIGKILL)
            # This very connection breaks with all others.
            with suppress(psycopg.OperationalError):
                connection.execute("select pg_sleep(5)")
                return False
        return True  # while it recovers, others may be hurt

    def _signal(self, chance: random.Random, function: str) -> bool:
        query = _ACTIVE if function == "pg_cancel_backend" else _BACKENDS
        with self._connect() as connection:
            pids = [pid for (pid,) in connection.execute(query)]
            if not pids:
                return False
            connection.execute(f"select {function}(%s)".encode(), [chance.choice(pids)])
        return True

    def _setting(self, act: Act, name: str, value: str) -> bool:
        with self._connect() as connection:
            connection.execute(f"alter system set {name} = '{value}'".encode())
            connection.execute("select pg_reload_conf()")
        self._rest(act.seconds)
        self._reset(name)
        return True

    def _reset(self, name: str) -> None:
        with self._connect() as connection:
            connection.execute(f"alter system reset {name}".encode())
            connection.execute("select pg_reload_conf()")

    def _migrate(self, act: Act, chance: random.Random) -> bool:
        """Have two migrators at once find functions that are not theirs, and replace them all under the workers."""
        with self._connect() as connection:
            connection.execute(
                "update pgflow.schema_migrations set checksum = 'another' where version = 0"
            )
        for _ in range(2):
            migrator = threading.Thread(target=self._install, daemon=True)
            migrator.start()
            self._migrators.append(migrator)
        return True

    def _install(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                install(self._server.dsn)
            except (PgflowError, psycopg.Error) as error:
                journal.write("migrator", self._directory, error=str(error))
                time.sleep(0.1)
            else:
                return
        self.problems.append("a migrator did not get through")

    # The network

    def _armed(
        self, fault: Fault, statements: tuple[bytes, ...]
    ) -> Callable[[Act, random.Random], bool]:
        def arm(act: Act, chance: random.Random) -> bool:
            self._proxy.arm(fault, statements, act.seconds)
            return True

        return arm

    def _cut_all(self, act: Act, chance: random.Random) -> bool:
        self._proxy.cut(chance.uniform(0.3, 1.0))
        return True
