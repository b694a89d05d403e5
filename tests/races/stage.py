"""Several sessions of one database at once: actors in threads, gates by row locks, and what must hold afterwards."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import psycopg
from psycopg.pq import TransactionStatus

from tests.support.sql import Connection, rows, value

if TYPE_CHECKING:
    from collections.abc import Callable

ResultT = TypeVar("ResultT")

TERMINATE = """select pg_terminate_backend(pid) from pg_stat_activity
  where datname = current_database() and pid <> pg_backend_pid() and state <> 'idle'"""

PATIENCE = 20
"""Seconds until a session that should have done something counts as stuck."""


@dataclass(frozen=True)
class Actor(Generic[ResultT]):
    """A session that acts in a thread of its own and commits."""

    session: Connection
    future: Future[ResultT]

    def result(self) -> ResultT:
        """Return what the act returned, or raise what it raised."""
        return self.future.result(PATIENCE)

    @property
    def error(self) -> BaseException | None:
        """What the act raised, if anything."""
        return self.future.exception(PATIENCE)


class Stage:
    """Opens sessions, lets them act at the same time and observes who waits for a lock."""

    def __init__(self, dsn: str, spare: list[Connection]) -> None:
        self._dsn = dsn
        self._spare = spare
        self._sessions: list[Connection] = []
        self._threads = ThreadPoolExecutor(8)
        self._observer = self.session(autocommit=True)
        self.setup = self.session(autocommit=True)
        """A session outside every transaction: prepares, and looks at the outcome."""

    def session(self, *, autocommit: bool = False) -> Connection:
        """Open a session, or take a spare one: it has compiled the functions already."""
        session = self._spare.pop() if self._spare else psycopg.connect(self._dsn)
        session.autocommit = autocommit
        self._sessions.append(session)
        return session

    def close(self) -> None:
        """End what is still under way, as after a failed test, and keep the good sessions as spares."""
        rows(self._observer, TERMINATE)
        self._threads.shutdown()
        for session in self._sessions:
            if session.info.transaction_status is TransactionStatus.IDLE:
                self._spare.append(session)
            else:
                session.close()

    def clear(self) -> None:
        """Take the sessions back that are outside every transaction, for the acts to come."""
        kept = (self._observer, self.setup)
        for session in [one for one in self._sessions if one not in kept]:
            if session.info.transaction_status is TransactionStatus.IDLE:
                self._sessions.remove(session)
                self._spare.append(session)

    def act(self, do: Callable[[Connection], ResultT]) -> Actor[ResultT]:
        """Let a new session do something in one transaction, in the background."""
        session = self.session()

        def transaction() -> ResultT:
            try:
                result = do(session)
            except BaseException:
                session.rollback()
                raise
            session.commit()
            return result

        return Actor(session, self._threads.submit(transaction))

    def gate(self, query: str, *arguments: object) -> Connection:
        """Hold the rows that a locking query selects until the session returned commits."""
        session = self.session()
        held = rows(session, query, *arguments)
        assert held, "the gate holds nothing"
        return session

    def blocked(self, actor: Actor[Any]) -> bool:
        """Wait until an actor waits for a lock; false if it ended instead."""
        pid = actor.session.info.backend_pid
        query = "select count(*) from pg_stat_activity where pid = %s and wait_event_type = 'Lock'"
        deadline = time.monotonic() + PATIENCE
        while not actor.future.done():
            if value(self._observer, query, pid):
                return True
            assert time.monotonic() < deadline, "neither blocked nor done"
            time.sleep(0.002)
        return False

    def together(self, gate: Connection, *acts: Callable[[Connection], Any]) -> list[Actor[Any]]:
        """Let acts run up to a gate one after the other, open it, and wait until all have ended."""
        actors = []
        for do in acts:
            actor = self.act(do)
            self.blocked(actor)
            actors.append(actor)
        gate.commit()
        for actor in actors:
            assert not isinstance(actor.error, TimeoutError)
        return actors


TRUTH = {
    "remaining_steps is the number of steps that are not over": """
      select run.run_id, run.remaining_steps from pgflow.runs as run
      where run.status in ('started', 'completed') and run.remaining_steps <> (
        select count(*) from pgflow.step_states as state
        where state.run_id = run.run_id and state.status in ('created', 'started', 'failed'))""",
    "remaining_tasks is the number of tasks that are not over": """
      select state.* from pgflow.step_states as state join pgflow.runs as run using (run_id)
      where run.status = 'started' and state.status = 'started' and state.remaining_tasks <> (
        select coalesce(sum(coalesce(task.items, 1)), 0) from pgflow.step_tasks as task
        where task.run_id = state.run_id and task.step_slug = state.step_slug and task.status in ('queued', 'started'))""",
    "remaining_deps is the number of parents that are not over": """
      select state.* from pgflow.step_states as state join pgflow.runs as run using (run_id)
      where run.status = 'started' and state.status in ('created', 'started') and state.remaining_deps <> (
        select count(*) from pgflow.step_states as parent
        where parent.run_id = state.run_id and parent.step_slug = any(state.deps)
          and parent.status in ('created', 'started', 'failed'))""",
    "a step that could start has started": """
      select state.* from pgflow.step_states as state join pgflow.runs as run using (run_id)
      where run.status = 'started' and state.status = 'created' and state.remaining_deps = 0""",
    "a run whose steps are over has ended": """
      select run.* from pgflow.runs as run where run.status = 'started' and not exists (
        select from pgflow.step_states as state
        where state.run_id = run.run_id and state.status in ('created', 'started', 'failed'))""",
    "a completed run has only steps that are over": """
      select run.* from pgflow.runs as run join pgflow.step_states as state using (run_id)
      where run.status = 'completed' and state.status not in ('completed', 'skipped')""",
}
"""Sentences that hold in every database at rest, each with a query for what contradicts it."""


def contradictions(connection: Connection) -> list[str]:
    """Return the sentences of TRUTH that don't hold, and whether messages and unfinished tasks match one to one."""
    found = [sentence for sentence, query in TRUTH.items() if rows(connection, query)]
    live = """select task.message_id, coalesce(state.queue_name, task.flow_slug) as queue
      from pgflow.step_tasks as task join pgflow.step_states as state using (run_id, step_slug)
      join pgflow.runs as run on run.run_id = task.run_id
      where run.status = 'started' and state.status = 'started' and task.status in ('queued', 'started')"""
    expected = sorted((one["queue"], one["message_id"]) for one in rows(connection, live))
    actual: list[tuple[str, int]] = []
    for queue in rows(connection, "select queue_name as name from pgmq.list_queues()"):
        query = f"select msg_id from pgmq.q_{queue['name']}"
        actual += [(queue["name"], one["msg_id"]) for one in rows(connection, query)]
    if expected != sorted(actual):
        found.append("unfinished tasks and live messages match one to one")
    return found
