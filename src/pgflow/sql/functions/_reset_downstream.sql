-- Put the steps downstream of some others back to where they were before they started, since their input is going to
-- change; their tasks go, their attempts stay on record, and so does the greatest fence: a worker may still hold one of
-- those tasks. Returns the steps given that are not downstream of one another. Called under the run's exclusive lock.
-- Locks: the steps' rows, then the tasks'.
create or replace function pgflow._reset_downstream(p_run_id uuid, p_step_slugs text[])
returns text[]
language plpgsql
set search_path = ''
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
as $$
declare
  v_downstream text[];
begin
  with recursive downstream as (
    select child.step_slug
    from pgflow.step_states as parent
    cross join lateral unnest(parent.children) as child (step_slug)
    where parent.run_id = p_run_id and parent.step_slug = any(p_step_slugs)
    union
    select child.step_slug
    from downstream
    cross join lateral (
      select state.children from pgflow.step_states as state
      where state.run_id = p_run_id and state.step_slug = downstream.step_slug
      offset 0
    ) as parent
    cross join lateral unnest(parent.children) as child (step_slug)
  )
  select array_agg(downstream.step_slug) into v_downstream from downstream;
  delete from pgflow.fan_outs as fan_out where fan_out.run_id = p_run_id and fan_out.step_slug = any(v_downstream);
  update pgflow.step_states as state
  set
    status = 'created', remaining_tasks = null, output = null, error_message = null, skip_reason = null,
    started_at = null, completed_at = null, failed_at = null, skipped_at = null, failed_tasks = 0, output_bytes = 0,
    last_fence = coalesce((
      select max(task.attempts_count) from pgflow.step_tasks as task
      where task.run_id = state.run_id and task.step_slug = state.step_slug
    ), state.last_fence),
    initial_tasks = case when state.step_type = 'map' then null else state.initial_tasks end,
    remaining_deps = (
      select count(*) from pgflow.step_states as parent
      where
        parent.run_id = p_run_id
        and parent.step_slug = any(state.deps)
        and (
          parent.step_slug = any(p_step_slugs)
          or parent.step_slug = any(v_downstream)
          or parent.status not in ('completed', 'skipped')
        )
    )
  where state.run_id = p_run_id and state.step_slug = any(v_downstream);
  delete from pgflow.step_tasks as task where task.run_id = p_run_id and task.step_slug = any(v_downstream);
  return array(
    select step.slug from unnest(p_step_slugs) as step (slug)
    where step.slug <> all(coalesce(v_downstream, '{}'))
    order by step.slug
  );
end
$$;

comment on function pgflow._reset_downstream(uuid, text[]) is 'Reset the steps that depend on steps which run again.';
