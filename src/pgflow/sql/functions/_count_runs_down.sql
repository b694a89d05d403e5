-- Take steps that are over off their runs' counters, and complete the runs that have none left, with their output.
-- Returns the runs. Called under the runs' locks.
create or replace function pgflow._count_runs_down(p_steps pgflow.step_states[])
returns pgflow.runs[]
language plpgsql
set search_path = ''
as $$
declare
  v_runs pgflow.runs[];
begin
  with done as materialized (
    select known.place, over.steps
    from (select step.run_id, count(*)::int as steps from unnest(p_steps) as step group by step.run_id) as over
    cross join lateral (
      select run.ctid as place from pgflow.runs as run where run.run_id = over.run_id offset 0
    ) as known
  ),
  counted as (
    update pgflow.runs as run
    set
      remaining_steps = greatest(run.remaining_steps - done.steps, 0),
      status = case when run.remaining_steps <= done.steps then 'completed' else run.status end,
      completed_at = case when run.remaining_steps <= done.steps then greatest(now(), run.started_at) end,
      output = case when run.remaining_steps <= done.steps then pgflow._run_output(run.run_id) end
    from done
    where run.ctid = done.place
    returning run as whole
  )
  select array_agg(counted.whole order by (counted.whole).run_id) into v_runs from counted;
  return v_runs;
end
$$;

comment on function pgflow._count_runs_down(pgflow.step_states[]) is
'Lower the runs'' numbers of remaining steps; complete those at zero.';
