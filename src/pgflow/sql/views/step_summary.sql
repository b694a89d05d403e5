-- One row a run and step with the numbers of its items. Order by duration to find the slowest. A look costs the same
-- whatever the size of a map: the tasks of a started step are counted up to _max_slice() of them; a larger one, and one
-- that has completed, is told by its counters. The queued items of such a large step include those whose tasks are
-- still to be created, and those whose lease has expired. Steps that failed or were skipped, or whose run failed or was
-- cancelled, are counted in full.
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
  items.queued as queued_tasks,
  items.started as started_tasks,
  items.completed as completed_tasks,
  items.failed as failed_tasks,
  items.retried as retried_tasks,
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
inner join pgflow.runs as run on state.run_id = run.run_id
cross join lateral (select coalesce(state.completed_at, state.failed_at, state.skipped_at) as finished_at) as ends
cross join lateral pgflow._count_items(
  state.run_id, state.step_slug, coalesce(state.queue_name, state.flow_slug),
  case
    when run.status not in ('started', 'completed') or state.status not in ('started', 'completed') then true
    when state.status = 'started' then state.initial_tasks <= pgflow._max_slice() * coalesce(state.batch_size, 1)
    else false
  end,
  state.initial_tasks, state.remaining_tasks, state.failed_tasks
) as items;

comment on view pgflow.step_summary is 'Steps of runs with the numbers of their items, and how long they took.';
