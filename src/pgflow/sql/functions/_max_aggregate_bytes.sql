-- Outputs of a map that are larger than this together stay in its tasks (step_output reads them). PostgreSQL's own
-- limit for one jsonb value is 256 MiB; building one costs memory and time under the run's lock long before that.
create or replace function pgflow._max_aggregate_bytes()
returns bigint
language plpgsql
immutable
parallel safe
set search_path = ''
as $$
begin
  return 16 * 1024 * 1024::bigint;
end
$$;

comment on function pgflow._max_aggregate_bytes() is 'The largest aggregated output of a map, in bytes of its parts.';
