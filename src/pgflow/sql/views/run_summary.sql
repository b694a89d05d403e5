-- One row a run with its progress: each step counts the same, one that runs by its share of tasks that are over.
create or replace view pgflow.run_summary as
select
  run.run_id,
  run.flow_slug,
  run.flow_version,
  run.status,
  run.idempotency_key,
  steps.total_steps,
  steps.done_steps,
  steps.total_tasks,
  steps.done_tasks,
  steps.failed_tasks,
  run.started_at,
  ends.finished_at,
  run.error_message,
  run.cancel_reason,
  case
    when run.status = 'completed' then 100
    else round(100.0 * steps.weight / greatest(steps.total_steps, 1), 1)
  end as progress,
  coalesce(ends.finished_at, clock_timestamp()) - run.started_at as duration
from pgflow.runs as run
cross join lateral (select coalesce(run.completed_at, run.failed_at, run.cancelled_at) as finished_at) as ends
cross join lateral (
  select
    count(*) as total_steps,
    count(*) filter (where state.status in ('completed', 'skipped')) as done_steps,
    coalesce(sum(state.initial_tasks) filter (where state.status <> 'skipped'), 0) as total_tasks,
    coalesce(sum(state.initial_tasks - state.remaining_tasks), 0) as done_tasks,
    coalesce(sum(state.failed_tasks), 0) as failed_tasks,
    coalesce(sum(
      case
        when state.status in ('completed', 'skipped') then 1.0
        when state.status = 'started'
          then (state.initial_tasks - state.remaining_tasks)::numeric / greatest(state.initial_tasks, 1)
        else 0
      end
    ), 0) as weight
  from pgflow.step_states as state
  where state.run_id = run.run_id
) as steps;

comment on view pgflow.run_summary is 'Runs with their progress in percent, duration and failures.';
