-- Create the tasks of some steps, for items from p_firsts up to p_ends, and their messages in one queue, in the order
-- of the tasks. Tasks that a taker may run are born granted to it. Returns those, and how many are left for others.
-- Messages are due from the start of their step on, so that a late slice goes before what came after it.
create or replace function pgflow._enqueue_tasks(
  p_queue_name text, p_steps pgflow.step_states[], p_firsts integer[], p_ends integer[], p_taker pgflow.taker,
  out granted pgflow.granted_task[], out queued integer
)
language plpgsql
set search_path = ''
as $$
declare
  v_now timestamptz := clock_timestamp();
  v_lease interval := make_interval(secs => p_taker.lease);
  v_tasks pgflow.new_tasks;
  v_msg_ids bigint[];
begin
  v_tasks := pgflow._new_tasks(p_steps, p_firsts, p_ends, case when p_queue_name = any(p_taker.queue_names) then p_taker end);
  execute 'select ' || pgflow._queue_function(p_queue_name, 'send') || '($1, $2)'
  into v_msg_ids
  using
    array(
      select case when task.is_taken then v_now + v_lease else task.due_at end
      from unnest(v_tasks.is_taken, v_tasks.due_at) as task (is_taken, due_at)
    ),
    v_tasks.messages;
  insert into pgflow.step_tasks (
    flow_slug, run_id, step_slug, task_index, message_id, input, items, status, attempts_count, released_count, started_at,
    last_worker_id
  )
  select
    step.flow_slug, step.run_id, step.step_slug, task.task_index, task.msg_id, task.input, task.items,
    case when task.is_taken then 'started' else 'queued' end,
    step.last_fence + task.is_taken::int, step.last_fence,
    case when task.is_taken then now() end, case when task.is_taken then p_taker.worker_id end
  from unnest(v_msg_ids, v_tasks.numbers, v_tasks.task_indexes, v_tasks.inputs, v_tasks.items, v_tasks.is_taken)
    as task (msg_id, number, task_index, input, items, is_taken)
  cross join lateral (
    select
      p_steps[task.number].flow_slug, p_steps[task.number].run_id, p_steps[task.number].step_slug,
      p_steps[task.number].last_fence
  ) as step;
  granted := array(
    select pgflow._fresh_grant(p_steps[task.number], task.task_index, task.input, task.items, task.msg_id, p_queue_name)
    from unnest(v_msg_ids, v_tasks.numbers, v_tasks.task_indexes, v_tasks.inputs, v_tasks.items, v_tasks.is_taken)
      as task (msg_id, number, task_index, input, items, is_taken)
    where task.is_taken
  );
  queued := cardinality(v_msg_ids) - cardinality(granted);
end
$$;

comment on function pgflow._enqueue_tasks(text, pgflow.step_states[], integer[], integer[], pgflow.taker) is
'Create tasks of started steps and send their messages to one queue.';
