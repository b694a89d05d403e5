-- Find the completions of a batch that are due but give a map something else than an array to go over, or more items
-- than maps of its flow may have. A map whose tasks are known already, or that a condition is going to skip, is not
-- violated. Called under the runs' locks.
create or replace function pgflow._type_violations(
  p_run_ids uuid[], p_step_slugs text[], p_task_indexes integer[], p_attempts integer[], p_outputs jsonb[]
)
returns setof pgflow.violation
language plpgsql
stable
set search_path = ''
as $$
begin
  return query
  select report.run_id, report.step_slug, report.output
  from pgflow._reports(p_run_ids, p_step_slugs, p_task_indexes, p_attempts, p_outputs) as report
  cross join lateral (
    select * from pgflow.step_states as known
    where known.run_id = report.run_id and known.step_slug = report.step_slug
    offset 0
  ) as state
  cross join lateral (
    select * from pgflow.step_tasks as known
    where
      known.run_id = report.run_id and known.step_slug = report.step_slug and known.task_index = report.task_index
      and state.feeds_map
    offset 0
  ) as task
  where
    state.feeds_map
    and case
      when jsonb_typeof(report.output) = 'array' then jsonb_array_length(report.output) > (
        select run.max_items from pgflow.runs as run where run.run_id = report.run_id
      )
      else true
    end
    and report.run_status = 'started'
    and report.step_status = 'started'
    and task.status = 'started'
    and (report.attempt is null or task.attempts_count = report.attempt)
    and exists (
      select 1 from pgflow.step_states as child
      where
        child.run_id = state.run_id
        and child.step_slug = any(state.children)
        and child.step_type = 'map'
        and child.initial_tasks is null
        and coalesce(
          jsonb_build_object(state.step_slug, coalesce(report.output, 'null')) @> child.required_input_pattern, true
        )
        and not coalesce(
          jsonb_build_object(state.step_slug, coalesce(report.output, 'null')) @> child.forbidden_input_pattern, false
        )
    );
end
$$;

comment on function pgflow._type_violations(uuid[], text[], integer[], integer[], jsonb[]) is
'The completions that would leave a map without an array.';
