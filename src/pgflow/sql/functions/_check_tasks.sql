-- Check the tasks of some runs: times, attempts, who holds them, and that none was granted after the run's end. Clocks
-- of two transactions are compared for the last one, so it allows a minute and is a warning. Takes no locks.
create or replace function pgflow._check_tasks(p_run_ids uuid[])
returns setof pgflow.invariant_finding
language plpgsql
stable
set search_path = ''
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
as $$
begin
  return query
  select
    broken.invariant, broken.severity, task.run_id, task.step_slug, task.task_index,
    coalesce(state.queue_name, state.flow_slug), task.message_id, broken.detail, broken.mend, false
  from unnest(p_run_ids) as checked (run_id)
  inner join pgflow.runs as run on checked.run_id = run.run_id
  inner join pgflow.step_states as state on run.run_id = state.run_id
  inner join pgflow.step_tasks as task on state.run_id = task.run_id and state.step_slug = task.step_slug
  cross join lateral (
    select
      run.status = 'started' and state.status = 'started' and task.status in ('queued', 'started'),
      greatest(state.max_attempts, 1) + task.requeued_count, coalesce(run.completed_at, run.failed_at, run.cancelled_at)
  ) as now (is_live, most_attempts, run_ended_at)
  cross join lateral (values
    (
      'task_times', 'error',
      (task.started_at is null) <> (task.status = 'queued') or (task.completed_at is not null) <> (task.status = 'completed')
      or (task.failed_at is not null) <> (task.status = 'failed'),
      format('The task is %s, and its times say otherwise.', task.status),
      'Somebody has changed the task by hand: set its times to what its status says.'
    ), (
      'too_many_attempts', 'error', now.is_live and task.attempts_count - task.released_count > now.most_attempts,
      format(
        'Granted %s times, of which %s do not count; %s are allowed.', task.attempts_count, task.released_count,
        now.most_attempts
      ),
      'The next claim that finds its lease expired fails it; report how it came about.'
    ), (
      'started_without_worker', 'warning',
      now.is_live and task.status = 'started' and task.permanently_stalled_at is null and task.last_worker_id is null,
      'The task is started, but nobody holds it: its worker was deleted.',
      'None needed while workers serve the queue: it is granted anew when its lease has expired.'
    ), (
      'granted_after_end', 'warning', task.started_at > now.run_ended_at + interval '1 minute',
      format('Started at %s, but the run had ended at %s.', task.started_at, now.run_ended_at),
      'The clock was set back, or the run was ended by a transaction of minutes; else report it.'
    )
  ) as broken (invariant, severity, is_broken, detail, mend)
  where broken.is_broken;
end
$$;

comment on function pgflow._check_tasks(uuid[]) is 'What is wrong with the tasks of some runs.';
