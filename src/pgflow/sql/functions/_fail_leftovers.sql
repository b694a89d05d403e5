-- Mark reported tasks of runs that are over already as failed, so that they do not look started for ever, and archive
-- their messages. Changes nothing else. Locks: the tasks, then the messages.
create or replace function pgflow._fail_leftovers(
  p_run_ids uuid[], p_step_slugs text[], p_task_indexes integer[], p_attempts integer[], p_errors text[]
)
returns void
language plpgsql
set search_path = ''
as $$
declare
  v_report record;
begin
  for v_report in
    select report.* from pgflow._reports(p_run_ids, p_step_slugs, p_task_indexes, p_attempts, null, p_errors) as report
    where report.run_status in ('failed', 'cancelled')
  loop
    update pgflow.step_tasks as task
    set status = 'failed', failed_at = greatest(now(), task.started_at), error_message = v_report.error
    where
      task.run_id = v_report.run_id
      and task.step_slug = v_report.step_slug
      and task.task_index = v_report.task_index
      and task.status = 'started'
      and task.attempts_count = coalesce(v_report.attempt, task.attempts_count);
    if found then
      perform pgflow._archive_task_message(v_report.run_id, v_report.step_slug, v_report.task_index);
    end if;
  end loop;
end
$$;

comment on function pgflow._fail_leftovers(uuid[], text[], integer[], integer[], text[]) is
'Fail started tasks of runs that have failed or were cancelled.';
