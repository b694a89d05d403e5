-- Finish steps whose last task is over: outputs of maps, children, the runs' counters, events, and whatever becomes
-- ready by it. The runs' rows are locked for that, so that the children of one run are touched by one session at a
-- time. Children that wait for nothing are started on the spot, unless conditions or empty maps have a say in their
-- run. Returns what a taker was granted. Locks: the runs' rows by id, then the steps', then their children's.
create or replace function pgflow._finish_steps(p_steps pgflow.step_states[], p_taker pgflow.taker default null)
returns pgflow.granted_task[]
language plpgsql
set search_path = ''
as $$
declare
  v_run_ids uuid[] := array(select distinct step.run_id from unnest(p_steps) as step order by step.run_id);
  v_startable uuid[];
  v_over pgflow.step_states[] := p_steps;
  v_children pgflow.step_states[];
  v_ready pgflow.step_states[];
  v_runs pgflow.runs[];
  v_granted pgflow.granted_task[] := '{}';
begin
  select array_agg(run.run_id) filter (where not run.has_conditions) into v_startable
  from (
    select known.run_id, known.has_conditions from pgflow.runs as known
    where known.run_id = any(v_run_ids)
    order by known.run_id
    for no key update
  ) as run;
  if exists (select 1 from unnest(p_steps) as step where step.status = 'started') then
    v_over := pgflow._complete_maps(p_steps);
  end if;
  v_children := pgflow._resolve_parents(v_over, v_startable);
  v_ready := array(select child from unnest(v_children) as child where child.status = 'started');
  v_runs := pgflow._count_runs_down(v_over);
  perform pgflow._emit_all(
    array(select pgflow._step_event(step) from unnest(v_over) as step)
    || array(select pgflow._step_event(step) from unnest(v_ready) as step)
    || array(select pgflow._run_event(run) from unnest(v_runs) as run where run.status = 'completed')
  );
  if v_ready <> '{}' then
    v_granted := pgflow._enqueue_steps(v_ready, p_taker);
  end if;
  v_run_ids := array(
    select distinct child.run_id from unnest(v_children) as child
    where child.status = 'created' and child.remaining_deps = 0
    order by child.run_id
  );
  if v_run_ids <> '{}' then
    v_granted := v_granted || pgflow._advance_runs(v_run_ids, case when v_granted = '{}' then p_taker end);
  end if;
  return v_granted;
end
$$;

comment on function pgflow._finish_steps(pgflow.step_states[], pgflow.taker) is 'Finish steps, and advance their runs.';
