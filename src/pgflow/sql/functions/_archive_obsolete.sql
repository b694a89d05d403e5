-- Archive the messages of reported tasks whose step is over (of runs that have not failed: those have no live
-- messages). Locks: the messages.
create or replace function pgflow._archive_obsolete(p_run_ids uuid[], p_step_slugs text[], p_task_indexes integer[])
returns void
language plpgsql
set search_path = ''
as $$
begin
  perform pgflow._archive_task_message(report.run_id, report.step_slug, report.task_index)
  from pgflow._reports(p_run_ids, p_step_slugs, p_task_indexes) as report
  where report.run_status <> 'failed' and report.step_status in ('completed', 'failed', 'skipped')
  order by report.run_id, report.step_slug, report.task_index;
end
$$;

comment on function pgflow._archive_obsolete(uuid[], text[], integer[]) is
'Archive the messages of tasks whose step is over.';
