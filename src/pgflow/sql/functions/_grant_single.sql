-- Grant the task of one message to a worker, the common case of a claim on an idle system: what _grant_tasks does for many,
-- each row by its key. Returns null, and changes nothing, unless the task is queued and free; _grant_tasks sees to the rest.
-- Never waits. Locks: the task's row, if it is free.
create or replace function pgflow._grant_single(p_msg_id bigint, p_message jsonb, p_worker_id uuid, p_handlers text[])
returns pgflow.granted_task
language plpgsql
set search_path = ''
as $$
declare
  v_key pgflow.task_message;
  v_step record;
  v_task record;
  v_parents pgflow.parent_outputs;
begin
  v_key := pgflow._task_messages(array[p_msg_id], array[p_message]);
  select
    state.flow_slug, state.step_type, state.deps, state.timeout, greatest(state.max_attempts, 1) as max_attempts,
    coalesce(state.queue_name, state.flow_slug) as queue_name, case when state.deps = '{}' then run.input end as run_input
  into v_step
  from pgflow.step_states as state
  inner join pgflow.runs as run on state.run_id = run.run_id
  where
    state.run_id = v_key.run_id and state.step_slug = v_key.step_slug
    and state.status = 'started' and run.status = 'started';
  if not found
    or not pgflow._can_run(p_handlers, v_step.flow_slug, v_key.step_slug, v_step.step_type, v_step.deps)
  then
    return null;
  end if;
  perform 1 from pgflow.step_tasks as task
  where
    task.run_id = v_key.run_id and task.step_slug = v_key.step_slug and task.task_index = v_key.task_index
    and task.message_id = p_msg_id and task.status = 'queued'
  for update skip locked;
  if not found then
    return null;
  end if;
  update pgflow.step_tasks as task
  set status = 'started', started_at = now(), attempts_count = task.attempts_count + 1, last_worker_id = p_worker_id
  where task.run_id = v_key.run_id and task.step_slug = v_key.step_slug and task.task_index = v_key.task_index
  returning task.attempts_count, task.released_count, task.input, task.items, task.losses into v_task;
  v_parents := (v_task.input, '{}');
  if v_task.input is null then
    v_parents := pgflow._parent_outputs(v_key.run_id, v_step.deps);
    v_task.input := v_parents.outputs;
  else
    v_step.run_input := null;
  end if;
  return (
    v_step.flow_slug, v_key.run_id, v_key.step_slug, v_key.task_index, v_task.attempts_count, v_task.input,
    v_step.run_input, p_msg_id, v_step.queue_name, v_step.step_type, v_task.attempts_count - v_task.released_count,
    v_step.max_attempts, v_step.timeout, false, v_parents.deferred, v_task.items,
    coalesce(v_task.losses > 0 and v_task.items is null, false)
  )::pgflow.granted_task;
end
$$;

comment on function pgflow._grant_single(bigint, jsonb, uuid, text[]) is 'Start the queued task of a message for a worker.';
