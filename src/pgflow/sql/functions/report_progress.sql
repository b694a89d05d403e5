-- Store what a running handler says of its progress. Only the holder of the current fence can. Locks: the task.
create or replace function pgflow.report_progress(
  run_id uuid, step_slug text, task_index integer, attempt integer, progress jsonb
)
returns boolean
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
begin
  update pgflow.step_tasks as task
  set progress = report_progress.progress
  where
    task.run_id = report_progress.run_id
    and task.step_slug = report_progress.step_slug
    and task.task_index = report_progress.task_index
    and task.status = 'started'
    and task.attempts_count = report_progress.attempt;
  return found;
end
$$;

comment on function pgflow.report_progress(uuid, text, integer, integer, jsonb) is
'Store the progress of a running task; false when another attempt holds it.';
