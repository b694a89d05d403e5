-- Say of each report of a batch what became of it, in the order given. A report that was not accepted now is
-- already_accepted when its own attempt has completed the task, or is recorded as failed, as p_ends asks; finished when
-- run or step is over, else stale.
create or replace function pgflow._report_outcomes(
  p_run_ids uuid[], p_step_slugs text[], p_task_indexes integer[], p_attempts integer[],
  p_accepted pgflow.accepted_tasks, p_ends text[]
)
returns setof pgflow.task_report
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
begin
  if cardinality(p_accepted.run_ids) = cardinality(p_run_ids) then
    return query
    select report.run_id, report.step_slug, report.task_index, 'accepted'
    from unnest(p_run_ids, p_step_slugs, p_task_indexes) as report (run_id, step_slug, task_index);
    return;
  end if;
  return query
  select
    report.run_id, report.step_slug, report.task_index,
    case
      when accepted.run_id is not null then 'accepted'
      when
        'completed' = any(p_ends) and task.status = 'completed' and task.attempts_count = report.attempt
        then 'already_accepted'
      when 'failed' = any(p_ends) and exists (
        select 1 from pgflow.attempts as attempt
        where
          attempt.run_id = report.run_id and attempt.step_slug = report.step_slug
          and attempt.task_index = report.task_index and attempt.attempt = report.attempt
          and attempt.outcome = 'failed'
      ) then 'already_accepted'
      when task.attempts_count <> report.attempt then 'stale'
      when report.run_status <> 'started' or report.step_status <> 'started' then 'finished'
      else 'stale'
    end
  from pgflow._reports(p_run_ids, p_step_slugs, p_task_indexes, p_attempts) as report
  left join (
    select distinct *
    from unnest(p_accepted.run_ids, p_accepted.step_slugs, p_accepted.task_indexes, p_accepted.attempts)
      as key (run_id, step_slug, task_index, attempt)
  ) as accepted
    on
      report.run_id = accepted.run_id
      and report.step_slug = accepted.step_slug
      and report.task_index = accepted.task_index
      and coalesce(report.attempt, accepted.attempt) = accepted.attempt
  left join lateral (
    select * from pgflow.step_tasks as known
    where
      known.run_id = report.run_id and known.step_slug = report.step_slug and known.task_index = report.task_index
    offset 0
  ) as task on true
  order by report.position;
end
$$;

comment on function pgflow._report_outcomes(
  uuid[], text[], integer[], integer[], pgflow.accepted_tasks, text[]
) is 'The outcome of each report of a batch.';
