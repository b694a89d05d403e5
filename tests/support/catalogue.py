"""What the system catalogue says about the schemas of a database, in a form that can be compared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psycopg

_QUERIES = {
    "columns": """
        select relation.relkind, relation.oid::regclass::text, attribute.attnum, attribute.attname,
          format_type(attribute.atttypid, attribute.atttypmod), attribute.attnotnull,
          pg_get_expr(default_value.adbin, default_value.adrelid), col_description(relation.oid, attribute.attnum)
        from pg_class as relation
        join pg_attribute as attribute on attribute.attrelid = relation.oid and attribute.attnum > 0
        left join pg_attrdef as default_value
          on default_value.adrelid = relation.oid and default_value.adnum = attribute.attnum
        where relation.relnamespace = any(%s::regnamespace[]) and not attribute.attisdropped
        order by 1, 2, 3
    """,
    "relations": """
        select relkind, oid::regclass::text, reloptions, relpersistence, relacl::text, obj_description(oid, 'pg_class'),
          case when relkind = 'v' then pg_get_viewdef(oid) end
        from pg_class
        where relnamespace = any(%s::regnamespace[])
        order by 1, 2
    """,
    "constraints": """
        select conrelid::regclass::text, conname, pg_get_constraintdef(oid)
        from pg_constraint where connamespace = any(%s::regnamespace[]) order by 1, 2
    """,
    "indexes": """
        select indexrelid::regclass::text, pg_get_indexdef(indexrelid)
        from pg_index join pg_class on pg_class.oid = indexrelid
        where relnamespace = any(%s::regnamespace[]) order by 1
    """,
    "functions": """
        select oid::regprocedure::text, pg_get_functiondef(oid), proacl::text, obj_description(oid, 'pg_proc')
        from pg_proc
        where pronamespace = any(%s::regnamespace[]) and prokind <> 'a'
        order by 1
    """,
    "triggers": """
        select tgrelid::regclass::text, tgname, pg_get_triggerdef(pg_trigger.oid)
        from pg_trigger join pg_class on pg_class.oid = tgrelid
        where relnamespace = any(%s::regnamespace[]) and not tgisinternal order by 1, 2
    """,
    "types": """
        select oid::regtype::text, typtype, obj_description(oid, 'pg_type')
        from pg_type where typnamespace = any(%s::regnamespace[]) order by 1
    """,
    "rights": "select nspname, nspacl::text from pg_namespace where oid = any(%s::regnamespace[]) order by 1",
}


def catalogue(connection: psycopg.Connection[Any]) -> dict[str, list[tuple[Any, ...]]]:
    """Return everything that is defined in the schemas pgflow and pgmq."""
    schemas = ["pgflow", "pgmq"]
    return {
        name: connection.execute(query.encode(), [schemas]).fetchall()
        for name, query in _QUERIES.items()
    }
