-- Take the failures of held tasks: an attempt each, and the task queued again or failed. Returns them with the delay of
-- each, null for those that failed for good. The caller holds the tasks.
create or replace function pgflow._record_failures(
  p_held pgflow.accepted_tasks, p_errors text[], p_details jsonb[]
)
returns pgflow.recorded_failures
language plpgsql
set search_path = ''
as $$
declare
  v_recorded pgflow.recorded_failures;
begin
  v_recorded.accepted := p_held;
  v_recorded.delays := array(
    select case
      when
        task.attempts_count - task.released_count < state.max_attempts
        and not coalesce(p_details[held.position] @> '{"final": true}', false)
        then pgflow._retry_delay(
          state.whole, task.attempts_count - task.released_count, (p_details[held.position] ->> 'retry_after')::real
        )
    end
    from unnest(p_held.ctids, p_held.positions) with ordinality as held (place, position, number)
    inner join pgflow.step_tasks as task on held.place = task.ctid
    cross join lateral (
      select known.max_attempts, known as whole from pgflow.step_states as known
      where known.run_id = task.run_id and known.step_slug = task.step_slug
      offset 0
    ) as state
    order by held.number
  );
  insert into pgflow.attempts (run_id, step_slug, task_index, attempt, worker_id, started_at, outcome, error, details)
  select
    task.run_id, task.step_slug, task.task_index, task.attempts_count, task.last_worker_id, task.started_at,
    case when p_details[held.position] ->> 'kind' = 'lost' then 'lost' else 'failed' end,
    p_errors[held.position], p_details[held.position]
  from unnest(p_held.ctids, p_held.positions) as held (place, position)
  inner join pgflow.step_tasks as task on held.place = task.ctid;
  update pgflow.step_tasks as task
  set
    status = case when held.delay is null then 'failed' else 'queued' end,
    started_at = case when held.delay is null then task.started_at end,
    failed_at = case when held.delay is null then greatest(now(), task.started_at) end,
    error_message = p_errors[held.position]
  from unnest(p_held.ctids, p_held.positions, v_recorded.delays) as held (place, position, delay)
  where task.ctid = held.place;
  return v_recorded;
end
$$;

comment on function pgflow._record_failures(pgflow.accepted_tasks, text[], jsonb[]) is
'Record failed attempts and requeue or fail their tasks; returns these with their delays.';
