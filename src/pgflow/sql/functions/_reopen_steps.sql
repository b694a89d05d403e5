-- Open steps again, failed ones and those that were under way when their run failed: whatever of their tasks has not
-- completed is queued with all attempts anew, and they count what is left. A step that failed before it had tasks waits
-- for its condition again. Called under the run's exclusive lock. Locks: the tasks, then the steps' rows.
create or replace function pgflow._reopen_steps(p_run_id uuid, p_step_slugs text[])
returns void
language plpgsql
set search_path = ''
as $$
begin
  update pgflow.step_tasks as task
  set
    status = 'queued', message_id = null, started_at = null, failed_at = null, error_message = null, output = null,
    released_count = task.attempts_count, requeued_count = 0, losses = null, permanently_stalled_at = null, queued_at = now()
  from pgflow.step_states as state
  where
    task.run_id = p_run_id and state.run_id = p_run_id and task.step_slug = state.step_slug
    and state.step_slug = any(p_step_slugs) and task.status <> 'completed';
  update pgflow.step_states as state
  set
    status = case when tasks.total > 0 then 'started' else 'created' end,
    remaining_tasks = case when tasks.total > 0 then state.initial_tasks - coalesce(tasks.completed, 0) end,
    output = null, error_message = null, completed_at = null, failed_at = null, failed_tasks = 0
  from (
    select
      step.slug as step_slug,
      coalesce(sum(coalesce(task.items, 1)) filter (where task.run_id is not null), 0) as total,
      coalesce(sum(coalesce(task.items, 1)) filter (where task.status = 'completed'), 0) as completed
    from unnest(p_step_slugs) as step (slug)
    left join pgflow.step_tasks as task on task.run_id = p_run_id and step.slug = task.step_slug
    group by step.slug
  ) as tasks
  where state.run_id = p_run_id and state.step_slug = tasks.step_slug;
  update pgflow.fan_outs as fan_out set paused = false where fan_out.run_id = p_run_id;
end
$$;

comment on function pgflow._reopen_steps(uuid, text[]) is 'Queue the failed tasks of steps anew and open the steps.';
