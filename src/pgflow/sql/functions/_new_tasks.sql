-- List the tasks that some steps need for items from p_firsts up to p_ends, as parallel arrays, and which of them the
-- taker takes. A later slice of a step is due as if it had been sent with the first one; each task is due a microsecond
-- after the one before it, so that an index by that time holds them in their order.
create or replace function pgflow._new_tasks(
  p_steps pgflow.step_states[], p_firsts integer[], p_ends integer[], p_taker pgflow.taker
)
returns pgflow.new_tasks
language plpgsql
stable
set search_path = ''
as $$
declare
  v_now timestamptz := clock_timestamp();
  v_room int := coalesce(p_taker.qty, 0);
  v_takes boolean[] := array(
    select coalesce(step.start_delay, 0) = 0 and v_room > 0
      and pgflow._can_run(p_taker.handlers, step.flow_slug, step.step_slug, step.step_type, step.deps)
    from unnest(p_steps) as step
  );
  v_tasks pgflow.new_tasks;
begin
  select
    array_agg(task.number), array_agg(task.task_index), array_agg(task.input), array_agg(task.items),
    array_agg(task.due_from + task.delay),
    array_agg(task.takes and task.place <= v_room),
    array_agg(jsonb_build_object(
      'flow_slug', task.flow_slug, 'run_id', task.run_id, 'step_slug', task.step_slug, 'task_index', task.task_index
    ))
  into v_tasks
  from (
    select
      step.ordinality as number, step.flow_slug, step.run_id, step.step_slug, item.task_index, item.input, item.items,
      make_interval(secs => coalesce(step.start_delay, 0)) as delay,
      case when step.start_delay > 0 and p_firsts[step.ordinality] = 0 then v_now else least(step.started_at, v_now) end
      - make_interval(secs => 1e-6 * (
        greatest(step.initial_tasks, count(*) over ()) - p_firsts[step.ordinality]
        - row_number() over (order by step.ordinality, item.task_index)
      )) as due_from,
      v_takes[step.ordinality] as takes,
      sum(v_takes[step.ordinality]::int) over (order by step.ordinality, item.task_index) as place
    from unnest(p_steps) with ordinality as step
    cross join lateral pgflow._task_inputs(
      p_steps[step.ordinality], p_firsts[step.ordinality], p_ends[step.ordinality]
    ) as item
    order by step.ordinality, item.task_index
  ) as task;
  return v_tasks;
end
$$;

comment on function pgflow._new_tasks(pgflow.step_states[], integer[], integer[], pgflow.taker) is
'The tasks of some steps that are to be created.';
