-- Delete up to so many workers (all, without a limit) that have given no sign of life since a time, oldest first. Each
-- costs a look at all tasks, which forget the worker, so a batch is better small. A worker stays until the next prune if
-- another session holds it or a task that it has had: whoever holds a task may need its worker's row, so waiting for the
-- task with that row locked would be a deadlock. Returns how many were deleted. Locks: those workers' rows that are free,
-- then the tasks that name them and are free.
create or replace function pgflow._prune_workers(p_cutoff timestamptz, p_limit integer)
returns integer
language plpgsql
set search_path = ''
as $$
declare
  v_worker_ids uuid[] := array(
    select silent.worker_id from pgflow.workers as silent
    where silent.last_heartbeat_at < p_cutoff
    order by silent.last_heartbeat_at
    limit p_limit
    for update skip locked
  );
  v_deleted integer := 0;
begin
  if v_worker_ids <> '{}' then
    with known as (
      select task.ctid as place from pgflow.step_tasks as task
      where task.last_worker_id = any(v_worker_ids)
      for update skip locked
    )
    update pgflow.step_tasks as task set last_worker_id = null from known where task.ctid = known.place;
    delete from pgflow.workers as worker
    where
      worker.worker_id = any(v_worker_ids)
      and not exists (select 1 from pgflow.step_tasks as task where task.last_worker_id = worker.worker_id);
    get diagnostics v_deleted = row_count;
  end if;
  return v_deleted;
end
$$;

comment on function pgflow._prune_workers(timestamptz, integer) is
'Delete workers that have been silent since a time; return their number.';
