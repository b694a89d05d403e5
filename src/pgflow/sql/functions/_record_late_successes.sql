-- Record the attempts of a batch that succeeded after others had failed; a first success is told by its task alone.
create or replace function pgflow._record_late_successes(p_accepted pgflow.accepted_tasks)
returns void
language plpgsql
set search_path = ''
as $$
begin
  if (select max(attempt) from unnest(p_accepted.attempts) as attempt) > 1 then
    insert into pgflow.attempts (run_id, step_slug, task_index, attempt, worker_id, started_at, ended_at, outcome)
    select
      task.run_id, task.step_slug, task.task_index, task.attempts_count, task.last_worker_id,
      task.started_at, task.completed_at, 'completed'
    from pgflow._reports(p_accepted.run_ids, p_accepted.step_slugs, p_accepted.task_indexes, p_accepted.attempts)
      as accepted
    cross join lateral (
      select * from pgflow.step_tasks as known
      where
        known.run_id = accepted.run_id and known.step_slug = accepted.step_slug
        and known.task_index = accepted.task_index
      offset 0
    ) as task
    where accepted.attempt > 1;
  end if;
end
$$;

comment on function pgflow._record_late_successes(pgflow.accepted_tasks) is
'Insert an attempt for each accepted completion that was not its task''s first.';
