"""What the roles may do, by the catalogue: each function and each table, and nothing for PUBLIC."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pgflow.embedded import EmbeddedServer
from pgflow.errors import PermissionDenied
from pgflow.schema import export_sql, install
from tests.support.roles import GROUPS, login
from tests.support.sql import define

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.servers import Databases

OWNER, WORKER, CLIENT, VIEWER = GROUPS

ALL = {WORKER, CLIENT, VIEWER}
BOTH = {WORKER, CLIENT}
CALLERS: dict[str, set[str]] = {
    # what only computes
    "calculate_retry_delay": ALL,
    "is_local": ALL,
    "is_valid_slug": ALL,
    # definitions
    "add_step": BOTH,
    "create_flow": BOTH,
    "define_flow": BOTH,
    "ensure_queue": BOTH,
    "flow_queue_names": BOTH,
    "delete_flow_and_data": set(),
    "ensure_flow_compiled": set(),  # it may be told to delete data
    # runs
    "cancel_run": {CLIENT},
    "retry_run": {CLIENT},
    "start_flow": {CLIENT},
    "start_flow_with_states": {CLIENT},
    "start_many": {CLIENT},
    "get_run_with_states": BOTH,  # like the tables, they show what is redacted
    "step_output": BOTH,
    # tasks
    "claim_tasks": {WORKER},
    "complete_and_claim": {WORKER},
    "complete_task": {WORKER},
    "complete_tasks": {WORKER},
    "extend_leases": {WORKER},
    "fail_task": {WORKER},
    "fail_tasks": {WORKER},
    "next_due": {WORKER},
    "poll_for_tasks": {WORKER},
    "release_tasks": {WORKER},
    "report_progress": {WORKER},
    "requeue_stalled_tasks": {WORKER},
    "resend_lost_messages": {WORKER},
    "set_vt_batch": {WORKER},
    "share_tasks": {WORKER},
    "split_batches": {WORKER},
    "task_losses": {WORKER},
    "start_tasks": {WORKER},
    # workers
    "mark_worker_stopped": {WORKER},
    "register_worker": {WORKER},
    "track_worker_function": {WORKER},
    "worker_heartbeat": {WORKER},
    # upkeep
    "check_invariants": ALL,
    "mend_invariants": set(),
    "prune_batch": set(),
    "prune_data_older_than": set(),
    "bind_tenant": set(),
    # parts of the engine that the contract names
    "cascade_complete_taskless_steps": set(),
    "cascade_resolve_conditions": set(),
    "maybe_complete_run": set(),
    "start_ready_steps": set(),
    # what views call with the rights of who looks at them
    "_count_items": ALL,
    "_max_slice": ALL,
    "_queue_stats": ALL,
    "_redacted": ALL,
    "_session_tenant": ALL,
    "_shown_parent_outputs": ALL,
}
"""Function -> who may call it besides the owner. Other private ones, and those of queues, are the owner's alone."""

PURE = {"calculate_retry_delay", "is_local", "is_valid_slug"}

READ_TABLES = {"deps", "flow_versions", "flows", "runs", "step_states", "step_tasks", "steps"}
"""Tables that the client library reads as they are."""


@pytest.fixture(scope="module")
def roles_url(databases: Databases) -> Iterator[str]:
    """Give a database with roles, and a queue that was there before them."""
    with databases.installed() as dsn:
        with psycopg.connect(dsn) as connection:
            define(connection, "before", {"a": []})
        install(dsn, roles=True)
        with psycopg.connect(dsn) as connection:
            define(connection, "after", {"a": {"queue": "side"}})
        yield dsn


@pytest.fixture
def catalogue(roles_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(roles_url) as connection:
        yield connection


def column(connection: psycopg.Connection[Any], query: str, *arguments: object) -> list[Any]:
    return [value for (value,) in connection.execute(query.encode(), arguments).fetchall()]


def callers(connection: psycopg.Connection[Any], name: str, signature: int) -> set[str]:
    query = "select has_function_privilege(%s, %s::oid, 'execute')"
    return {role for role in ALL if column(connection, query, role, signature) == [True]}


def test_each_function_is_called_by_those_who_need_it(catalogue: psycopg.Connection[Any]) -> None:
    query = "select proname, oid from pg_proc where pronamespace = 'pgflow'::regnamespace"
    found = {
        name: callers(catalogue, name, signature)
        for name, signature in catalogue.execute(query).fetchall()
    }
    of_queues = {name for name in found if name.startswith("q_")}
    assert {"q_before_send", "q_after_read", "q_side_archive"} <= of_queues
    public = {name for name in found if not name.startswith("_")} - of_queues
    unknown = public - set(CALLERS)
    assert unknown == set(), "say in src/pgflow/sql/roles.sql and here who may call them"
    assert found == {name: CALLERS.get(name, set()) for name in found}


def test_functions_that_are_granted_run_as_their_owner(
    catalogue: psycopg.Connection[Any],
) -> None:
    query = "select proname from pg_proc where pronamespace = 'pgflow'::regnamespace and prosecdef"
    granted = {name for name, roles in CALLERS.items() if roles} - PURE
    everything = set(
        column(catalogue, "select proname from pg_proc where pronamespace = 'pgflow'::regnamespace")
    )
    assert set(column(catalogue, query)) == granted & everything


def test_every_function_pins_its_search_path(catalogue: psycopg.Connection[Any]) -> None:
    query = """select proname from pg_proc where pronamespace = 'pgflow'::regnamespace
      and not coalesce(proconfig, '{}') @> array['search_path=""']"""
    assert column(catalogue, query) == []


@pytest.mark.parametrize("schema", ["pgflow", "pgmq"])
def test_tables_are_written_by_nobody_but_the_owner(
    catalogue: psycopg.Connection[Any], schema: str
) -> None:
    query = """
        select relation.oid::regclass::text || ' ' || right_.name || ' ' || role.name
        from pg_class as relation
        cross join unnest(%s::text[]) as role (name)
        cross join unnest('{insert,update,delete,truncate,references,trigger}'::text[]) as right_ (name)
        where relation.relnamespace = %s::regnamespace and relation.relkind in ('r', 'p', 'v', 'S')
          and case relation.relkind
            when 'S' then has_sequence_privilege(role.name, relation.oid, 'usage, update')
            else has_table_privilege(role.name, relation.oid, right_.name) end
    """
    assert column(catalogue, query, sorted(ALL), schema) == []


def test_who_may_read_what(catalogue: psycopg.Connection[Any]) -> None:
    query = """
        select relation.relname, relation.relkind from pg_class as relation
        where relation.relnamespace in ('pgflow'::regnamespace, 'pgmq'::regnamespace) and relation.relkind in ('r', 'p', 'v')
    """
    for name, kind in catalogue.execute(query).fetchall():
        right = "select has_table_privilege(%s, (select oid from pg_class where relname = %s), 'select')"
        readers = {role for role in ALL if column(catalogue, right, role, name) == [True]}
        everybody = kind in {"v", b"v"} or name == "schema_migrations"
        assert readers == (ALL if everybody else BOTH if name in READ_TABLES else set()), name


def test_public_may_do_nothing(catalogue: psycopg.Connection[Any]) -> None:
    query = """
        select proname from pg_proc, aclexplode(coalesce(proacl, acldefault('f', proowner)))
        where pronamespace = 'pgflow'::regnamespace and grantee = 0
        union all
        select relname from pg_class, aclexplode(relacl) where relnamespace = 'pgflow'::regnamespace and grantee = 0
    """
    assert column(catalogue, query) == []


def test_everything_belongs_to_the_owner(catalogue: psycopg.Connection[Any]) -> None:
    query = """
        select relname from pg_class where relnamespace = 'pgflow'::regnamespace and relowner <> 'pgflow_owner'::regrole
        union all
        select proname from pg_proc where pronamespace = 'pgflow'::regnamespace and proowner <> 'pgflow_owner'::regrole
        union all
        select typname from pg_type where typnamespace = 'pgflow'::regnamespace and typowner <> 'pgflow_owner'::regrole
        union all
        select relname from pg_class where relname ~ '^[qa]_(before|after|side)' and relowner <> 'pgflow_owner'::regrole
    """
    assert column(catalogue, query) == []
    assert column(
        catalogue, "select nspowner::regrole::text from pg_namespace where nspname = 'pgflow'"
    ) == [OWNER]


def test_the_roles_cannot_log_in(catalogue: psycopg.Connection[Any]) -> None:
    query = "select rolname from pg_roles where rolname = any(%s) and not rolcanlogin and not rolsuper order by 1"
    assert column(catalogue, query, list(GROUPS)) == sorted(GROUPS)


# Installing


def security_of(dsn: str) -> list[Any]:
    """Return what decides on rights, of all functions and relations."""
    query = """
        select proname, prosecdef::text, proowner::regrole::text, proacl::text from pg_proc where pronamespace = 'pgflow'::regnamespace
        union all
        select relname, '', relowner::regrole::text, relacl::text from pg_class where relnamespace = 'pgflow'::regnamespace
        order by 1, 2, 3
    """
    with psycopg.connect(dsn) as connection:
        return connection.execute(query.encode()).fetchall()


def test_a_later_init_renews_the_rights(database_url: str) -> None:
    install(database_url, roles=True)
    before = security_of(database_url)
    with psycopg.connect(database_url) as connection:
        connection.execute("update pgflow.schema_migrations set checksum = 'old' where version = 0")
    assert install(database_url).changed
    assert security_of(database_url) == before


def test_repeating_it_mends_rights_that_were_taken(database_url: str) -> None:
    install(database_url, roles=True)
    before = security_of(database_url)
    with psycopg.connect(database_url) as connection:
        connection.execute("alter function pgflow.cancel_run security invoker")
        connection.execute("grant insert on pgflow.runs to pgflow_client")
        connection.execute(
            "grant execute on function pgflow.prune_data_older_than to pgflow_client"
        )
    assert not install(database_url, roles=True).changed
    assert security_of(database_url) == before


def test_without_the_option_nothing_changes(database_url: str) -> None:
    before = security_of(database_url)
    with psycopg.connect(database_url) as connection:
        connection.execute("update pgflow.schema_migrations set checksum = 'old' where version = 0")
    assert install(database_url).changed
    assert security_of(database_url) == before


def test_the_printed_script_does_the_same(empty_database_url: str, database_url: str) -> None:
    install(database_url, roles=True)
    with psycopg.connect(empty_database_url) as connection:
        connection.execute(export_sql(roles=True).encode())
    assert security_of(empty_database_url) == security_of(database_url)


def test_a_member_of_the_owner_can_install_and_upgrade(empty_database_url: str) -> None:
    with login(empty_database_url, OWNER) as dsn:
        let_create(empty_database_url, dsn)
        install(dsn, roles=True)
        with psycopg.connect(dsn) as connection:
            define(connection, "f", {"a": []})
            connection.execute(
                "update pgflow.schema_migrations set checksum = 'old' where version = 0"
            )
        assert install(dsn).changed


def test_who_is_no_member_of_the_owner_is_told_so(empty_database_url: str) -> None:
    with login(empty_database_url) as dsn:
        let_create(empty_database_url, dsn)
        with pytest.raises(PermissionDenied, match="is not a member of pgflow_owner") as caught:
            install(dsn, roles=True)
    assert "grant pgflow_owner to" in str(caught.value.hint)
    with psycopg.connect(empty_database_url) as connection:
        assert column(connection, "select to_regnamespace('pgflow') is null") == [True]


def let_create(superuser: str, dsn: str) -> None:
    """Let a role create schemas in its database."""
    given = conninfo_to_dict(dsn)
    with psycopg.connect(superuser) as connection:
        statement = f'grant create on database "{given["dbname"]}" to "{given["user"]}"'
        connection.execute(statement.encode())


@pytest.fixture
def new_server() -> Iterator[str]:
    """Give the address of a server that has no role of ours yet."""
    directory = Path(tempfile.mkdtemp(prefix="pgflow-tests-"))
    server = EmbeddedServer.ensure(directory)
    yield server.dsn
    server.stop("immediate")
    server.close()
    shutil.rmtree(directory, ignore_errors=True)


def test_roles_are_made_by_who_may_and_is_no_superuser(new_server: str) -> None:
    with psycopg.connect(new_server, autocommit=True) as connection:
        for name, options in (("plain", ""), ("maker", "createrole")):
            connection.execute(f"create role {name} login password 'secret' {options}".encode())
            connection.execute(f"grant create on database postgres to {name}".encode())
    plain, maker = (
        make_conninfo(new_server, user=name, password="secret") for name in ("plain", "maker")
    )
    with pytest.raises(PermissionDenied, match="role plain may not create the role") as caught:
        install(plain, roles=True)
    assert "alter role plain createrole" in str(caught.value.hint)
    assert install(maker, roles=True).changed
    with psycopg.connect(maker) as connection:
        define(connection, "f", {"a": []})
        connection.execute("update pgflow.schema_migrations set checksum = 'old' where version = 0")
    assert install(maker).changed
    assert not install(maker, roles=True).changed
