-- Start every ready step of some live runs: state, event, tasks and messages, in the order of the definitions. Wakes
-- the workers of each queue once. Locks: the steps' rows, by run and slug.
create or replace function pgflow._start_ready_steps(p_run_ids uuid[])
returns void
language plpgsql
set search_path = ''
as $$
declare
  v_step record;
  v_queue record;
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

  for v_step in select step.* from unnest(v_started) as step loop
    perform pgflow._emit(
      v_step.run_id, 'step:' || v_step.step_slug || ':started',
      jsonb_build_object(
        'event_type', 'step:started', 'run_id', v_step.run_id, 'flow_slug', v_step.flow_slug,
        'step_slug', v_step.step_slug, 'status', 'started', 'started_at', v_step.started_at,
        'remaining_tasks', v_step.remaining_tasks, 'remaining_deps', v_step.remaining_deps
      )
    );
  end loop;
  for v_queue in
    select coalesce(step.queue_name, step.flow_slug) as name, array_agg(step order by step.run_id, step.step_index) as steps
    from unnest(v_started) as step
    group by 1
    order by 1
  loop
    perform pgflow._enqueue_tasks(v_queue.name, v_queue.steps);
    perform pg_notify('pgflow_wake', v_queue.name);
  end loop;
end
$$;

comment on function pgflow._start_ready_steps(uuid[]) is 'Start every ready step of some runs, and wake the workers.';
