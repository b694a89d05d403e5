-- Say how large a definition may be, and what it may ask for: the limits that hold for everybody. The Python side has
-- the same numbers (pgflow.Limits), and a test compares them.
create or replace function pgflow._limits()
returns jsonb
language sql
immutable
parallel safe
set search_path = ''
as $$
  select jsonb_build_object(
    'max_steps', 20000,
    'max_dependencies', 10000,
    'max_definition_bytes', 16777216,
    'max_pattern_bytes', 65536,
    'max_pattern_depth', 32,
    'max_tasks', 10000000,
    'max_attempts', 2147483647,
    'max_timeout', 2147483647,
    'max_delay', 2147483647,
    'max_redact_paths', 100
  )
$$;

comment on function pgflow._limits() is 'The hard limits of definitions; durations in seconds.';
