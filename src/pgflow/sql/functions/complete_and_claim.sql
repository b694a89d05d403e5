-- Complete a batch of tasks as complete_tasks does, and grant up to qty of the tasks that become ready by it to the
-- same worker, in the same transaction: they are created as started, and nobody is woken for them. Only tasks of the
-- worker's queues and handlers that are due at once; none to a worker that is not registered (any more), whose results
-- count all the same. Returns a row for each report that was not accepted, told by its
-- outcome, and one for each task that was granted. Locks: the worker's row, then those of complete_tasks.
create or replace function pgflow.complete_and_claim(
  run_ids uuid[], step_slugs text[], task_indexes integer[], attempts integer[], outputs jsonb[],
  worker_id uuid, queue_names text[], qty integer, lease integer default 30, handlers text[] default null
)
returns setof pgflow.work_item
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
as $$
declare
  v_taker pgflow.taker;
  v_work pgflow.completed_work;
begin
  perform 1 from pgflow.workers as worker where worker.worker_id = complete_and_claim.worker_id for key share;
  if found then
    v_taker := (
      complete_and_claim.worker_id, complete_and_claim.queue_names, complete_and_claim.handlers,
      complete_and_claim.qty, complete_and_claim.lease
    );
  end if;
  v_work := pgflow._complete_batch(
    run_ids, step_slugs, task_indexes, complete_and_claim.attempts, outputs, v_taker
  );
  if coalesce(cardinality((v_work.accepted).run_ids), 0) < cardinality(run_ids) then
    return query
    select report.outcome, null, report.run_id, report.step_slug, report.task_index, null::int, null::jsonb, null::jsonb,
      null::bigint, null, null, null::int, null::int, null::int, null::boolean, null::text[], null::int, null::boolean
    from pgflow._report_outcomes(
      run_ids, step_slugs, task_indexes, complete_and_claim.attempts, v_work.accepted, array['completed']
    ) as report
    where report.outcome <> 'accepted';
  end if;
  if v_work.granted <> '{}' then
    return query select null::text, granted.* from unnest(v_work.granted) as granted;
  end if;
end
$$;

comment on function pgflow.complete_and_claim(
  uuid[], text[], integer[], integer[], jsonb[], uuid, text[], integer, integer, text[]
) is 'Complete a batch of tasks, and take tasks that become ready by it.';
