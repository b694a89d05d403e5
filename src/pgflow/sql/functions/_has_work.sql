-- Tell whether a run has a task that is still to be done, or a large map whose tasks are still to be created. Called by
-- _check_runs. Takes no locks.
create or replace function pgflow._has_work(p_run_id uuid)
returns boolean
language plpgsql
stable
set search_path = ''
set enable_seqscan = off
as $$
begin
  return exists (
    select 1
    from pgflow.step_states as state
    cross join lateral (
      select 1 from pgflow.step_tasks as task
      where
        task.run_id = p_run_id and task.step_slug = state.step_slug and task.status in ('queued', 'started')
        and task.permanently_stalled_at is null
      limit 1
    ) as open
    where state.run_id = p_run_id and state.status = 'started'
  ) or exists (select 1 from pgflow.fan_outs as fan_out where fan_out.run_id = p_run_id and not fan_out.paused);
end
$$;

comment on function pgflow._has_work(uuid) is 'Whether a run has tasks to do or to create.';
