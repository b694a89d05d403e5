-- One row a task that failed for good, with what it worked on, less what the flow redacts; one an item of a batch that
-- its run's end has failed.
create or replace view pgflow.failed_tasks as
select
  task.run_id,
  task.flow_slug,
  task.step_slug,
  (task.task_index + coalesce(item.position - 1, 0))::integer as task_index,
  pgflow._redacted(
    coalesce(
      item.input, task.input,
      case when state.deps = '{}' then run.input else pgflow._shown_parent_outputs(task.run_id, state.deps) end
    ),
    run.redact || flow.redact
  ) as input,
  task.error_message,
  task.attempts_count,
  task.failed_at,
  task.last_worker_id
from pgflow.step_tasks as task
inner join pgflow.step_states as state on task.run_id = state.run_id and task.step_slug = state.step_slug
inner join pgflow.runs as run on task.run_id = run.run_id
left join pgflow.flows as flow on run.flow_slug = flow.flow_slug
left join lateral jsonb_array_elements(case when task.items is not null then task.input end) with ordinality
  as item (input, position) on true
where task.status = 'failed';

comment on view pgflow.failed_tasks is 'Tasks that failed for good, with input and error.';
