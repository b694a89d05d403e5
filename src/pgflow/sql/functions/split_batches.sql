-- Report batches of items of which not all succeeded. The items become tasks of their own: those with an output are
-- completed, those with an error are treated as by fail_tasks, those released go back without spending an attempt. They
-- carry on the batch's attempts, so no fence is used twice. The results of a batch are an array with an element for each
-- item in order: {"output": ...}, {"error": "...", "details": {...}} or {"released": true}. Reports are about batches.
-- Locks: runs shared, exclusively those that a condition may fail or in which an item fails for good; then the batches,
-- new rows, messages, steps.
create or replace function pgflow.split_batches(
  run_ids uuid[], step_slugs text[], task_indexes integer[], attempts integer[], results jsonb[]
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
  v_final jsonb[] := array(
    select case when given.result @> '[{"details": {"final": true}}]' then '{"final": true}'::jsonb end
    from unnest(results) with ordinality as given (result, position)
    order by given.position
  );
  v_held pgflow.accepted_tasks;
begin
  perform pgflow._lock_runs(
    run_ids,
    pgflow._runs_that_may_end(run_ids, step_slugs, results)
    || pgflow._runs_with_exhausted_tasks(run_ids, step_slugs, task_indexes, v_final)
  );
  v_held := pgflow._lock_held_tasks(run_ids, step_slugs, task_indexes, split_batches.attempts);
  perform pgflow._check_batch_results(v_held, results);
  perform pgflow._report_items(pgflow._unfold_batches(v_held), task_indexes, results);
  if coalesce(cardinality(v_held.run_ids), 0) < cardinality(run_ids) then
    perform pgflow._fail_leftovers(
      run_ids, step_slugs, task_indexes, split_batches.attempts,
      array(
        select coalesce(jsonb_path_query_first(given.result, '$[*].error') #>> '{}', 'The run was over.')
        from unnest(results) with ordinality as given (result, position)
        order by given.position
      )
    );
    perform pgflow._archive_obsolete(run_ids, step_slugs, task_indexes);
  end if;
  return query
  select * from pgflow._report_outcomes(
    run_ids, step_slugs, task_indexes, split_batches.attempts, v_held, array['completed', 'failed']
  );
end
$$;

comment on function pgflow.split_batches(uuid[], text[], integer[], integer[], jsonb[]) is
'Report batches item by item, each by an array of outputs, errors and released items; reports are as those of complete_tasks.';
