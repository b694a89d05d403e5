-- Grant tasks to a worker by their messages: mark them started, count the attempt, and return what the worker needs.
-- The attempt number is the fence of the grant. With p_recover a task that is started already is granted again: its
-- message came back, so its lease has expired; the lost attempt is recorded, and once they are used up the grant is
-- marked exhausted and does not count. Nor does the second to fourth loss of a task whose worker performed others, too
-- (share_tasks): one of them may be to blame. Never waits for a task: one that another session holds is left out.
-- Locks: the tasks' rows that are free.
create or replace function pgflow._grant_tasks(
  p_msg_ids bigint[],
  p_messages jsonb[],
  p_worker_id uuid,
  p_recover boolean,
  p_handlers text[] default null
)
returns setof pgflow.granted_task
language plpgsql
set search_path = ''
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
as $$
begin
  return query
  with message as materialized (
    select * from pgflow._task_messages(p_msg_ids, p_messages)
  ),
  steps as materialized (
    select
      state.run_id, state.step_slug, state.step_type, state.deps, state.timeout,
      greatest(state.max_attempts, 1) as max_attempts, coalesce(state.queue_name, state.flow_slug) as queue_name,
      case when state.deps = '{}' then state.run_input end as run_input
    from (select distinct message.run_id, message.step_slug from message) as key
    cross join lateral (
      select known.*, run.status as run_status, run.input as run_input
      from pgflow.step_states as known
      inner join pgflow.runs as run on known.run_id = run.run_id
      where known.run_id = key.run_id and known.step_slug = key.step_slug
      offset 0
    ) as state
    where state.status = 'started' and state.run_status = 'started' and pgflow._can_run(p_handlers, state.flow_slug,
      state.step_slug, state.step_type, state.deps)
  ),
  free as materialized (
    select
      message.msg_id, steps.*, task.place, task.status = 'started' as is_expired, task.attempts_count, task.last_worker_id,
      task.started_at, task.task_index, task.is_forgiven,
      task.status = 'started'
      and task.attempts_count - task.released_count - task.is_forgiven::int >= steps.max_attempts as is_used_up,
      case when task.input is null then pgflow._parent_outputs(steps.run_id, steps.deps) end as parents
    from message
    inner join steps on message.run_id = steps.run_id and message.step_slug = steps.step_slug
    cross join lateral (
      select
        known.*, known.ctid as place,
        coalesce(
          known.status = 'started' and known.losses <= 3 and known.shared_attempt = known.attempts_count, false
        ) as is_forgiven
      from pgflow.step_tasks as known
      where
        known.run_id = message.run_id and known.step_slug = message.step_slug and known.task_index = message.task_index
        and known.message_id = message.msg_id and (known.status = 'queued' or (p_recover and known.status = 'started'))
      for update skip locked
      offset 0
    ) as task
  ),
  lost as (
    insert into pgflow.attempts (
      run_id, step_slug, task_index, attempt, worker_id, started_at, ended_at, outcome, error
    )
    select
      free.run_id, free.step_slug, free.task_index, free.attempts_count, free.last_worker_id, free.started_at,
      now(), 'lost', 'The lease expired: the worker died, hung, or lost its connection.'
      || case when free.is_forgiven then ' It held other tasks, too, so this attempt does not count.' else '' end
    from free
    where free.is_expired
  )
  update pgflow.step_tasks as task
  set
    status = 'started',
    started_at = now(),
    attempts_count = task.attempts_count + 1,
    released_count = task.released_count + free.is_used_up::int + free.is_forgiven::int,
    losses = case when free.is_expired then coalesce(task.losses, 0) + 1 else task.losses end,
    last_worker_id = p_worker_id
  from free
  where task.ctid = free.place
  returning
    task.flow_slug, task.run_id, task.step_slug, task.task_index, task.attempts_count,
    coalesce(task.input, (free.parents).outputs),
    case when task.input is null then free.run_input end,
    task.message_id, free.queue_name, free.step_type, task.attempts_count - task.released_count, free.max_attempts,
    free.timeout, free.is_used_up, coalesce((free.parents).deferred, '{}'), task.items,
    free.is_expired or coalesce(task.losses > 0 and task.items is null, false);
end
$$;

comment on function pgflow._grant_tasks(bigint[], jsonb[], uuid, boolean, text[]) is
'Start the tasks of some messages for a worker and return them; what is not free or not due is left out.';
