-- Turn the parallel arrays of a batch into rows, in the order in which their tasks are locked, each with how its run
-- and step stand. It claims to return one row, and callers join nothing else before the tasks, so that every plan looks
-- tasks up by their whole keys, whatever the statistics say.
create or replace function pgflow._reports(
  p_run_ids uuid[], p_step_slugs text[], p_task_indexes integer[], p_attempts integer[] default null,
  p_outputs jsonb[] default null, p_errors text[] default null, p_details jsonb[] default null
)
returns setof pgflow.given_report
language plpgsql
stable
rows 1
set search_path = ''
as $$
begin
  return query
  select report.*, run.status, state.status, state.queue_name, state.max_attempts
  from unnest(p_run_ids, p_step_slugs, p_task_indexes, p_attempts, p_outputs, p_errors, p_details) with ordinality
    as report (run_id, step_slug, task_index, attempt, output, error, details, position)
  left join lateral (
    select known.status from pgflow.runs as known
    where known.run_id = report.run_id
    offset 0
  ) as run on true
  left join lateral (
    select known.status, coalesce(known.queue_name, known.flow_slug) as queue_name, known.max_attempts
    from pgflow.step_states as known
    where known.run_id = report.run_id and known.step_slug = report.step_slug
    offset 0
  ) as state on true
  order by report.run_id, report.step_slug, report.task_index;
end
$$;

comment on function pgflow._reports(uuid[], text[], integer[], integer[], jsonb[], text[], jsonb[]) is
'The reports of a batch as rows, sorted by task.';
