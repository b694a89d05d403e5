-- Fail one attempt of a task: the contract's form of fail_tasks. Returns the task as it is afterwards, whatever
-- happened; no row if there is none. Without an attempt number the fence is not checked.
create or replace function pgflow.fail_task(
  run_id uuid, step_slug text, task_index integer, error_message text, attempt integer default null
)
returns setof pgflow.step_tasks
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
begin
  perform pgflow.fail_tasks(
    array[fail_task.run_id], array[fail_task.step_slug], array[fail_task.task_index],
    array[fail_task.attempt], array[fail_task.error_message]
  );
  return query
  select task.* from pgflow.step_tasks as task
  where
    task.run_id = fail_task.run_id
    and task.step_slug = fail_task.step_slug
    and task.task_index = fail_task.task_index;
end
$$;

comment on function pgflow.fail_task(uuid, text, integer, text, integer) is
'Fail an attempt of a task, to be retried or for good, and return its row.';
