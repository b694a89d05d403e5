-- Delete up to so many workers (all, without a limit) that have given no sign of life since a time, oldest first. Each
-- costs a look at all tasks, which forget the worker, so a batch is better small. Returns how many were deleted. Locks:
-- those workers' rows that are free, then the tasks that name them.
create or replace function pgflow._prune_workers(p_cutoff timestamptz, p_limit integer)
returns integer
language plpgsql
set search_path = ''
as $$
declare
  v_deleted integer;
begin
  delete from pgflow.workers as worker
  where worker.worker_id = any(array(
    select silent.worker_id from pgflow.workers as silent
    where silent.last_heartbeat_at < p_cutoff
    order by silent.last_heartbeat_at
    limit p_limit
    for update skip locked
  ));
  get diagnostics v_deleted = row_count;
  return v_deleted;
end
$$;

comment on function pgflow._prune_workers(timestamptz, integer) is
'Delete workers that have been silent since a time; return their number.';
