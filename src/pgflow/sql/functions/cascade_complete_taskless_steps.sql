-- Complete the ready steps of a run that have no tasks: empty maps, and the maps behind them as far as no condition is
-- in the way. A map has one parent at most, so the walk needs no counters and no limit, and every row is written once.
-- Returns how many were completed. Locks: the run's row, then the steps'.
create or replace function pgflow.cascade_complete_taskless_steps(run_id uuid)
returns integer
language plpgsql
set search_path = ''
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  v_run_id uuid := cascade_complete_taskless_steps.run_id;
  v_step record;
  v_slugs text[];
  v_steps pgflow.step_states[];
begin
  perform 1 from pgflow.runs as run where run.run_id = v_run_id and run.status = 'started' for no key update;
  if not found then
    return 0;
  end if;
  with recursive taskless as (
    select state.step_slug, state.children, state.step_type
    from pgflow.step_states as state
    where
      state.run_id = v_run_id and state.status = 'created'
      and state.remaining_deps = 0 and state.initial_tasks = 0
    union all
    select child.step_slug, child.children, child.step_type
    from taskless
    cross join lateral unnest(taskless.children) as follower (slug)
    cross join lateral (
      select * from pgflow.step_states as state
      where state.run_id = v_run_id and state.step_slug = follower.slug
      offset 0
    ) as child
    where
      taskless.step_type = 'map' and child.step_type = 'map'
      and child.status = 'created' and child.remaining_deps = 1
      and child.required_input_pattern is null and child.forbidden_input_pattern is null
  )
  select array_agg(taskless.step_slug) into v_slugs from taskless;
  with completed as (
    update pgflow.step_states as state
    set
      status = 'completed', started_at = now(), completed_at = now(), remaining_tasks = 0, remaining_deps = 0,
      initial_tasks = 0, output = case when state.step_type = 'map' then '[]'::jsonb end
    where state.run_id = v_run_id and state.step_slug = any(v_slugs) and state.status = 'created'
    returning state as step
  )
  select array_agg(completed.step order by (completed.step).step_index) into v_steps from completed;
  if v_steps is null then
    return 0;
  end if;
  perform pgflow._resolve_parents(v_steps);
  perform pgflow._count_steps_down(v_run_id, cardinality(v_steps));
  for v_step in select step.* from unnest(v_steps) as step loop
    perform pgflow._emit(
      v_run_id, 'step:' || v_step.step_slug || ':completed',
      jsonb_build_object(
        'event_type', 'step:completed', 'run_id', v_run_id, 'flow_slug', v_step.flow_slug,
        'step_slug', v_step.step_slug, 'status', 'completed',
        'started_at', v_step.started_at, 'completed_at', v_step.completed_at,
        'remaining_tasks', 0, 'remaining_deps', 0, 'output', v_step.output
      )
    );
  end loop;
  return cardinality(v_steps);
end
$$;

comment on function pgflow.cascade_complete_taskless_steps(uuid) is
'Complete a run''s ready steps without tasks, and those that become so; returns their number.';
