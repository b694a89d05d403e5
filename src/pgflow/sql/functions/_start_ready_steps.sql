-- Start every ready step of some live runs: state, event, tasks and messages, in the order of the definitions. Wakes
-- the workers of each queue once. With a taker, tasks are granted to it as by _enqueue_steps, and returned.
-- Locks: the steps' rows, by run and slug.
create or replace function pgflow._start_ready_steps(p_run_ids uuid[], p_taker pgflow.taker default null)
returns pgflow.granted_task[]
language plpgsql
set search_path = ''
as $$
declare
  v_started pgflow.step_states[];
begin
  with ready as (
    select state.ctid as place
    from pgflow.step_states as state
    inner join pgflow.runs as run on state.run_id = run.run_id
    where
      state.run_id = any(p_run_ids)
      and state.status = 'created'
      and state.remaining_deps = 0
      and state.initial_tasks > 0
      and run.status = 'started'
    order by state.run_id, state.step_slug
    for update of state
  ),
  started as (
    update pgflow.step_states as state
    set status = 'started', started_at = now(), remaining_tasks = state.initial_tasks
    from ready
    where state.ctid = ready.place
    returning state as step
  )
  select array_agg(started.step order by (started.step).run_id, (started.step).step_index) into v_started
  from started;
  if v_started is null then
    return '{}';
  end if;
  perform pgflow._emit_all(array(select pgflow._step_event(step) from unnest(v_started) as step));
  return pgflow._enqueue_steps(v_started, p_taker);
end
$$;

comment on function pgflow._start_ready_steps(uuid[], pgflow.taker) is 'Start every ready step of some runs, and wake the workers.';
