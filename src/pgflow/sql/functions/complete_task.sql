-- Complete one task: the contract's form of complete_tasks. Returns the task as it is afterwards, whatever happened; no
-- row if there is none. Without an attempt number the fence is not checked.
create or replace function pgflow.complete_task(
  run_id uuid, step_slug text, task_index integer, output jsonb, attempt integer default null
)
returns setof pgflow.step_tasks
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
begin
  perform pgflow.complete_tasks(
    array[complete_task.run_id], array[complete_task.step_slug], array[complete_task.task_index],
    array[complete_task.attempt], array[complete_task.output]
  );
  return query
  select task.* from pgflow.step_tasks as task
  where
    task.run_id = complete_task.run_id
    and task.step_slug = complete_task.step_slug
    and task.task_index = complete_task.task_index;
end
$$;

comment on function pgflow.complete_task(uuid, text, integer, jsonb, integer) is
'Complete a task with its output and return its row.';
