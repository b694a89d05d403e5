-- Archive the message of one task, if it has one. Locks: the message.
create or replace function pgflow._archive_task_message(p_run_id uuid, p_step_slug text, p_task_index integer)
returns void
language sql
set search_path = ''
as $$
  select pgflow._archive(coalesce(state.queue_name, state.flow_slug), array[task.message_id])
  from pgflow.step_tasks as task
  inner join pgflow.step_states as state on task.run_id = state.run_id and task.step_slug = state.step_slug
  where
    task.run_id = p_run_id
    and task.step_slug = p_step_slug
    and task.task_index = p_task_index
    and task.message_id is not null
$$;

comment on function pgflow._archive_task_message(uuid, text, integer) is 'Archive the message of a task.';
