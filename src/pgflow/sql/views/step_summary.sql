-- One row a run and step with the numbers of its tasks, the items of a batch one by one. Order by duration to find the
-- slowest.
create or replace view pgflow.step_summary as
select
  state.run_id,
  state.flow_slug,
  state.step_slug,
  state.step_index,
  state.step_type,
  state.status,
  state.deps,
  case when state.status = 'skipped' and state.started_at is null then 0 else state.initial_tasks end as total_tasks,
  tasks.queued_tasks,
  tasks.started_tasks,
  tasks.completed_tasks,
  tasks.failed_tasks,
  tasks.retried_tasks,
  state.started_at,
  ends.finished_at,
  state.error_message,
  state.skip_reason,
  state.remaining_deps,
  state.queue_name,
  case
    when state.started_at is not null then coalesce(ends.finished_at, clock_timestamp()) - state.started_at
  end as duration
from pgflow.step_states as state
cross join lateral (select coalesce(state.completed_at, state.failed_at, state.skipped_at) as finished_at) as ends
cross join lateral (
  select
    coalesce(sum(coalesce(task.items, 1)) filter (where task.status = 'queued'), 0) as queued_tasks,
    coalesce(sum(coalesce(task.items, 1)) filter (where task.status = 'started'), 0) as started_tasks,
    coalesce(sum(coalesce(task.items, 1)) filter (where task.status = 'completed'), 0) as completed_tasks,
    coalesce(sum(coalesce(task.items, 1)) filter (where task.status = 'failed'), 0) as failed_tasks,
    coalesce(sum(coalesce(task.items, 1)) filter (
      where task.attempts_count - task.released_count > (task.status <> 'queued')::int
    ), 0) as retried_tasks
  from pgflow.step_tasks as task
  where task.run_id = state.run_id and task.step_slug = state.step_slug
) as tasks;

comment on view pgflow.step_summary is 'Steps of runs with the numbers of their tasks, and how long they took.';
