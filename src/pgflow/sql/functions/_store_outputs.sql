-- Complete tasks that are locked, with their outputs; returns the size of each. Locks: none but those held.
create or replace function pgflow._store_outputs(p_accepted pgflow.accepted_tasks, p_outputs jsonb[])
returns integer[]
language plpgsql
set search_path = ''
as $$
begin
  update pgflow.step_tasks as task
  set status = 'completed', output = p_outputs[held.position], completed_at = greatest(now(), task.started_at)
  from unnest(p_accepted.ctids, p_accepted.positions) as held (place, position)
  where task.ctid = held.place;
  return array(
    select coalesce(pg_column_size(p_outputs[held.position]), 0)
    from unnest(p_accepted.positions) with ordinality as held (position, number)
    order by held.number
  );
end
$$;

comment on function pgflow._store_outputs(pgflow.accepted_tasks, jsonb[]) is 'Store the outputs of accepted completions.';
