-- Pick the runs of a batch of failures in which a task fails for good. Attempts and limits of a live grant never
-- change, so this needs no lock; the caller locks these runs exclusively.
create or replace function pgflow._runs_with_exhausted_tasks(
  p_run_ids uuid[], p_step_slugs text[], p_task_indexes integer[], p_details jsonb[]
)
returns uuid[]
language plpgsql
stable
set search_path = ''
as $$
begin
  return array(
    select distinct task.run_id
    from pgflow._reports(p_run_ids, p_step_slugs, p_task_indexes, null, null, null, p_details) as report
    cross join lateral (
      select * from pgflow.step_tasks as known
      where
        known.run_id = report.run_id and known.step_slug = report.step_slug and known.task_index = report.task_index
      offset 0
    ) as task
    where
      task.attempts_count - task.released_count >= report.max_attempts
      or report.details @> '{"final": true}'
  );
end
$$;

comment on function pgflow._runs_with_exhausted_tasks(uuid[], text[], integer[], jsonb[]) is
'The runs of a batch in which a failure is the last attempt of its task.';
