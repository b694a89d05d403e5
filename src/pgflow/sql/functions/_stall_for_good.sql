-- Give up on a task that has stalled too often: it stays started with its time of stalling, its message is archived,
-- and its step's policy decides about step and run. Left for the next time when another session holds the run. Locks:
-- the run exclusively if it is free, the task, the message.
create or replace function pgflow._stall_for_good(p_run_id uuid, p_step_slug text, p_task_index integer)
returns void
language plpgsql
set search_path = ''
as $$
begin
  perform pgflow._require_read_committed();
  perform 1 from pgflow.runs as run where run.run_id = p_run_id for update skip locked;
  if not found then
    return;
  end if;
  update pgflow.step_tasks as task
  set permanently_stalled_at = now(), error_message = 'The task stalled more than three times.'
  where task.run_id = p_run_id and task.step_slug = p_step_slug and task.task_index = p_task_index;
  perform pgflow._archive_task_message(p_run_id, p_step_slug, p_task_index);
  perform pgflow._exhaust_step(p_run_id, p_step_slug, array[p_task_index]);
end
$$;

comment on function pgflow._stall_for_good(uuid, text, integer) is
'Mark a task as permanently stalled and apply its step''s policy.';
