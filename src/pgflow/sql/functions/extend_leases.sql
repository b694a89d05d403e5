-- Renew the leases of a batch of running tasks: hide their messages for so many seconds from now. Only the holder of
-- the current fence can; a worker that is answered stale or finished must stop its handler. Locks: the runs shared, the
-- tasks, then the messages.
create or replace function pgflow.extend_leases(
  run_ids uuid[], step_slugs text[], task_indexes integer[], attempts integer[], lease integer default 30
)
returns setof pgflow.task_report
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
as $$
declare
  v_held pgflow.accepted_tasks;
begin
  perform pgflow._lock_runs(run_ids, '{}');
  v_held := pgflow._lock_held_tasks(run_ids, step_slugs, task_indexes, attempts);
  perform pgflow._put_back(
    v_held.queue_names, v_held.message_ids, array_fill(lease::real, array[coalesce(cardinality(v_held.message_ids), 0)]),
    false
  );
  return query
  select * from pgflow._report_outcomes(run_ids, step_slugs, task_indexes, attempts, v_held, '{}');
end
$$;

comment on function pgflow.extend_leases(uuid[], text[], integer[], integer[], integer) is
'Renew leases: accepted, stale (another attempt holds the task) or finished (run or step over).';
