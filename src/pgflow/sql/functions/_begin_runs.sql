-- Give new runs the states of their steps, and start those that wait for nothing, without a second look at any row.
-- Returns true if more was to be done, so that the runs have changed: conditions, empty maps, or no steps at all.
-- Locks: none but the new rows'.
create or replace function pgflow._begin_runs(p_runs pgflow.runs[], p_steps pgflow.planned_steps[])
returns boolean
language plpgsql
set search_path = ''
as $$
declare
  v_started pgflow.step_states[];
  v_has_more boolean;
begin
  if p_runs is null then
    return false;
  end if;
  with stated as (
    insert into pgflow.step_states as state (
      flow_slug, run_id, step_slug, status, started_at, remaining_deps, initial_tasks, remaining_tasks, step_index,
      step_type, deps, children, feeds_map, fixed_size, queue_name, max_attempts, base_delay, max_delay, jitter, timeout,
      start_delay, max_failed_tasks, max_failed_percent, required_input_pattern, forbidden_input_pattern, when_unmet,
      when_exhausted, batch_size, redact
    )
    select
      run.flow_slug, run.run_id, step.step_slug,
      case when size.starts then 'started' else 'created' end, case when size.starts then now() end,
      cardinality(step.deps), size.tasks, case when size.starts then size.tasks end,
      step.step_index, step.step_type, step.deps, step.children, step.feeds_map, step.fixed_size, step.queue_name,
      step.max_attempts, step.base_delay, step.max_delay, step.jitter, step.timeout, step.start_delay,
      step.max_failed_tasks, step.max_failed_percent, step.required_input_pattern, step.forbidden_input_pattern,
      step.when_unmet, step.when_exhausted, step.batch_size, run.redact
    from unnest(p_runs) with ordinality as run
    cross join unnest(p_steps) as step
    cross join lateral (
      select known.tasks, step.deps = '{}' and known.tasks > 0 and not run.has_conditions as starts
      from (
        select case
          when step.step_type = 'map' and step.deps = '{}' and not step.fixed_size then jsonb_array_length(run.input)
          else step.initial_tasks
        end as tasks
      ) as known
    ) as size
    order by run.ordinality, step.step_index
    returning state as whole
  )
  select
    array_agg(stated.whole) filter (where (stated.whole).status = 'started'),
    bool_or((stated.whole).status = 'created' and (stated.whole).remaining_deps = 0)
  into v_started, v_has_more
  from stated;
  perform pgflow._emit_all(
    array(select pgflow._run_event(run) from unnest(p_runs) as run)
    || array(select pgflow._step_event(step) from unnest(v_started) as step)
  );
  perform pgflow._enqueue_steps(v_started);
  if v_has_more or v_has_more is null then
    perform pgflow._advance_runs(array(select run.run_id from unnest(p_runs) as run));
    return true;
  end if;
  return false;
end
$$;

comment on function pgflow._begin_runs(pgflow.runs[], pgflow.planned_steps[]) is
'Create the step states of new runs and start what is ready.';
