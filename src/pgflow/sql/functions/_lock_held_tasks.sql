-- Lock those tasks of a batch that are running under the given fence (null skips the check), in a live run and step,
-- and return them once each, with their places in the table and in the batch. Not a task that has stalled for good:
-- that has been counted as its end. The lateral look-up holds every plan to the key, and the places stay right while the
-- locks are held. Locks: the tasks, by run, slug and index.
create or replace function pgflow._lock_held_tasks(
  p_run_ids uuid[], p_step_slugs text[], p_task_indexes integer[], p_attempts integer[]
)
returns pgflow.accepted_tasks
language plpgsql
set search_path = ''
as $$
declare
  v_held pgflow.accepted_tasks;
begin
  with held as materialized (
    select report.position, report.queue_name, task.*
    from pgflow._reports(p_run_ids, p_step_slugs, p_task_indexes, p_attempts) as report
    cross join lateral (
      select
        known.run_id, known.step_slug, known.task_index, known.attempts_count, known.message_id, known.items,
        known.ctid as place
      from pgflow.step_tasks as known
      where
        known.run_id = report.run_id and known.step_slug = report.step_slug and known.task_index = report.task_index
        and known.status = 'started'
        and known.permanently_stalled_at is null
        and known.attempts_count = coalesce(report.attempt, known.attempts_count)
      for update
      offset 0
    ) as task
    where report.run_status = 'started' and report.step_status = 'started'
  ),
  once as (
    select distinct on (held.place) held.*
    from held
    order by held.place, held.position
  )
  select
    array_agg(once.run_id), array_agg(once.step_slug), array_agg(once.task_index), array_agg(once.attempts_count),
    array_agg(once.message_id), array_agg(once.queue_name), null, array_agg(once.place), array_agg(once.position),
    array_agg(once.items)
  into v_held
  from once;
  return v_held;
end
$$;

comment on function pgflow._lock_held_tasks(uuid[], text[], integer[], integer[]) is
'Lock and return the tasks that the given attempts hold.';
