-- Count several steps down at once; returns those that have no task left, single steps complete with their output.
-- Locks: the steps' rows by run and slug.
create or replace function pgflow._count_steps(p_done pgflow.counted_step[])
returns pgflow.step_states[]
language plpgsql
set search_path = ''
as $$
declare
  v_places tid[] := array(
    select state.place
    from unnest(p_done) with ordinality as done
    cross join lateral (
      select known.ctid as place from pgflow.step_states as known
      where known.run_id = done.run_id and known.step_slug = done.step_slug
      for no key update
      offset 0
    ) as state
    order by done.ordinality
  );
  v_over pgflow.step_states[];
begin
  with counted as (
    update pgflow.step_states as state
    set
      remaining_tasks = state.remaining_tasks - done.items,
      output_bytes = state.output_bytes + done.bytes,
      status = case when state.step_type = 'single' then 'completed' else state.status end,
      completed_at = case when state.step_type = 'single' then greatest(now(), state.started_at) end,
      output = case when state.step_type = 'single' then pgflow._step_output(state) end
    from (
      select v_places[step.ordinality] as place, step.items, step.bytes from unnest(p_done) with ordinality as step
    ) as done
    where state.ctid = done.place
    returning state as whole
  )
  select array_agg(counted.whole order by (counted.whole).run_id, (counted.whole).step_index) into v_over
  from counted
  where (counted.whole).remaining_tasks = 0;
  return v_over;
end
$$;

comment on function pgflow._count_steps(pgflow.counted_step[]) is 'Count steps down; returns those that are over.';
