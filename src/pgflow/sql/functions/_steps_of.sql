-- Look steps up by their keys, with their places in the table and how their runs stand. Claims to return one row, so
-- that plans on stale statistics hold to the keys.
create or replace function pgflow._steps_of(p_run_ids uuid[], p_step_slugs text[])
returns setof pgflow.found_step
language plpgsql
stable
rows 1
set search_path = ''
as $$
begin
  return query
  select state.place, run.status, state.whole
  from unnest(p_run_ids, p_step_slugs) as key (run_id, step_slug)
  cross join lateral (
    select known.status from pgflow.runs as known where known.run_id = key.run_id offset 0
  ) as run
  cross join lateral (
    select known.ctid as place, known as whole from pgflow.step_states as known
    where known.run_id = key.run_id and known.step_slug = key.step_slug
    offset 0
  ) as state;
end
$$;

comment on function pgflow._steps_of(uuid[], text[]) is 'The states of some steps, and the status of their runs.';
