-- Tell how many grants of a task have ended with their worker. Asked for tasks that are granted as recovered, in the
-- statement that claims them, so it has to see what that claim has written.
create or replace function pgflow.task_losses(run_id uuid, step_slug text, task_index integer)
returns integer
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
begin
  return (
    select coalesce(task.losses, 0) from pgflow.step_tasks as task
    where
      task.run_id = task_losses.run_id and task.step_slug = task_losses.step_slug
      and task.task_index = task_losses.task_index
  );
end
$$;

comment on function pgflow.task_losses(uuid, text, integer) is 'Tell how many grants of a task have ended with their worker.';
