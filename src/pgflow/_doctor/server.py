"""Judges the server: its settings, its clock, what holds vacuum up, the size and the health of tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pgflow._doctor.findings import Finding, error, info, warning

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pgflow._doctor.readings import Reader, Row

OLD_TRANSACTION: Final = 300
VERY_OLD_TRANSACTION: Final = 3600
"""Seconds; the first is a warning, the second an error."""
CLOCK: Final = 2.0
CROWDED: Final = 0.9
"""Share of the connections."""
DEAD_ROWS: Final = 20_000
ARCHIVE_BYTES: Final = 2 * 1024**3

_HARMFUL: Final[Mapping[str, tuple[str, str, str]]] = {
    "fsync": ("off", "error", "a crash of the machine destroys the database"),
    "full_page_writes": ("off", "error", "a crash of the machine can destroy the database"),
    "default_transaction_read_only": ("on", "error", "nothing can be written"),
    "autovacuum": ("off", "error", "tables and queues grow and slow down without end"),
    "track_activities": ("off", "warning", "long transactions cannot be seen"),
}
"""Setting -> the harmful value, how bad it is, and why."""


def check_server(reader: Reader) -> Iterator[Finding]:
    """Check the server's state, settings and load."""
    server, settings = reader.server(), reader.settings()
    if server["is_standby"]:
        yield error(
            "standby",
            "the server is a standby: nothing can be written",
            mend="Use the primary's address, or add target_session_attrs=read-write to it.",
        )
    yield from judge_settings(settings, server["role"])
    yield from judge_load(
        server["connections"], int(settings["max_connections"]) - server["reserved"]
    )


def judge_settings(settings: Mapping[str, str], role: str) -> Iterator[Finding]:
    """Judge the settings that sessions start with."""
    for name, (value, severity, why) in _HARMFUL.items():
        if settings.get(name) == value:
            good = "off" if value == "on" else "on"
            make = error if severity == "error" else warning
            yield make("setting", f"{name} is {value}: {why}", name, _alter(name, good))
    if settings.get("synchronous_commit") == "off":
        what = "synchronous_commit is off: a crash of the server forgets what it has just confirmed"
        yield warning("setting", what, "synchronous_commit", _alter("synchronous_commit", "on"))
    isolation = settings.get("default_transaction_isolation", "read committed")
    if isolation != "read committed":
        what = f"transactions are {isolation} by default: start runs in READ COMMITTED ones"
        mend = f"alter role {role} set default_transaction_isolation = 'read committed';"
        yield warning("setting", what, "default_transaction_isolation", mend)
    for name in ("idle_session_timeout", "transaction_timeout"):
        if settings.get(name, "0") != "0":
            what = f"{name} is {settings[name]} ms: connections that workers keep may be ended"
            yield warning("setting", what, name, f"alter role {role} set {name} = 0;")
    if settings.get("statement_timeout", "0") != "0":
        what = f"statement_timeout is {settings['statement_timeout']} ms; workers and clients set their own"
        yield info("setting", what, "statement_timeout")


def judge_load(connections: int, most: int) -> Iterator[Finding]:
    """Judge the number of connections."""
    if connections >= most * CROWDED:
        yield warning(
            "connections",
            f"{connections} of {most} connections are in use",
            "max_connections",
            "alter system set max_connections = …; and restart, or give workers fewer processes.",
        )


def check_clock(reader: Reader) -> Iterator[Finding]:
    """Compare the clocks; every deadline is by the server's, so a difference does no harm."""
    yield from judge_clock(reader.clock_difference())


def judge_clock(ahead: float) -> Iterator[Finding]:
    """Judge how far the server's clock is ahead."""
    if abs(ahead) > CLOCK:
        side = "ahead of" if ahead > 0 else "behind"
        what = f"the server's clock is {abs(ahead):.0f} s {side} this machine's: harmless, leases go by the server's"
        yield info("clock", what)


def check_transactions(reader: Reader) -> Iterator[Finding]:
    """Look for what keeps vacuum from clearing up."""
    yield from judge_transactions(reader.long_transactions(OLD_TRANSACTION))


def judge_transactions(rows: Sequence[Row]) -> Iterator[Finding]:
    """Judge transactions, prepared ones and replication slots."""
    for row in rows:
        make = error if (row["age"] or 0) > VERY_OLD_TRANSACTION else warning
        match row["kind"]:
            case "slot":
                what = f"the inactive replication slot {row['name']} keeps old rows and WAL"
                mend = (
                    f"Start its subscriber, or: select pg_drop_replication_slot('{row['name']}');"
                )
                yield warning("slot", what, row["name"], mend)
            case "prepared":
                what = f"transaction {row['name']} was prepared {row['age']:.0f} s ago: vacuum cannot clear up behind it"
                mend = f"rollback prepared '{row['name']}'; or commit prepared."
                yield make("prepared_transaction", what, row["name"], mend)
            case _:
                what = (
                    f"a transaction of {row['owner']} ({row['application'] or 'no name'}, {row['state']}) is open for"
                    f" {row['age']:.0f} s: vacuum cannot clear up behind it, and claims slow down"
                )
                where = f"process {row['name']}"
                yield make(
                    "long_transaction", what, where, f"select pg_terminate_backend({row['name']});"
                )


def check_tables(reader: Reader) -> Iterator[Finding]:
    """Look at dead rows, archives, and tables that are never vacuumed."""
    yield from judge_tables(reader.tables())


def judge_tables(rows: Sequence[Row]) -> Iterator[Finding]:
    """Judge tables by their sizes."""
    for row in rows:
        name = row["name"]
        if row["is_never_vacuumed"]:
            mend = f"alter table {name} reset (autovacuum_enabled);"
            yield error("bloat", "autovacuum is switched off for the table", name, mend)
        if row["dead"] > DEAD_ROWS and row["dead"] > 2 * row["live"]:
            what = f"{row['dead']:,} dead rows beside {row['live']:,} live ones"
            mend = f"Look for long transactions, then: vacuum {name};"
            yield warning("bloat", what, name, mend)
        if row["is_archive"] and row["bytes"] > ARCHIVE_BYTES:
            what = f"the archive of finished messages has {row['bytes'] / 1024**3:.1f} GiB"
            mend = "select pgflow.prune_data_older_than('30 days');"
            yield warning("archive", what, name, mend)


def _alter(name: str, value: str) -> str:
    return f"alter system set {name} = {value}; select pg_reload_conf();"
