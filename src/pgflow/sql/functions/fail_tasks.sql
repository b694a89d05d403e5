-- Report a batch of failed attempts. A task with attempts left is queued again behind its backoff; else it fails for
-- good, and its step's policy decides about step and run. Details of a task may say {"final": true} (no retry),
-- {"retry_after": seconds}, "kind", "type" and "traceback"; they are kept with the attempt. A batch fails with all its
-- items, which become tasks of their own.
-- Locks: runs shared, exclusively those in which a task fails for good; then tasks, messages, steps.
create or replace function pgflow.fail_tasks(
  run_ids uuid[], step_slugs text[], task_indexes integer[], attempts integer[], errors text[],
  details jsonb[] default null
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
  v_details jsonb[] := coalesce(fail_tasks.details, array_fill(null::jsonb, array[cardinality(run_ids)]));
  v_recorded pgflow.recorded_failures;
  v_held pgflow.accepted_tasks;
  v_failed pgflow.accepted_tasks;
  v_step record;
begin
  perform pgflow._lock_runs(run_ids, pgflow._runs_with_exhausted_tasks(run_ids, step_slugs, task_indexes, v_details));
  v_held := pgflow._lock_held_tasks(run_ids, step_slugs, task_indexes, fail_tasks.attempts);
  v_recorded := pgflow._record_failures(pgflow._unfold_batches(v_held), fail_tasks.errors, v_details);
  v_failed := v_recorded.accepted;

  perform pgflow._put_back(v_failed.queue_names, v_failed.message_ids, v_recorded.delays);
  perform pgflow._send_retries(v_failed, v_recorded.delays);
  for v_step in
    select
      failed.run_id, failed.step_slug, count(*) as tasks,
      array_agg(failed.task_index order by failed.task_index) as task_indexes
    from unnest(v_failed.run_ids, v_failed.step_slugs, v_failed.task_indexes, v_recorded.delays)
      as failed (run_id, step_slug, task_index, delay)
    where failed.delay is null
    group by failed.run_id, failed.step_slug
    order by failed.run_id, failed.step_slug
  loop
    perform pgflow._exhaust_step(v_step.run_id, v_step.step_slug, v_step.task_indexes);
  end loop;
  if coalesce(cardinality(v_held.run_ids), 0) < cardinality(run_ids) then
    perform pgflow._fail_leftovers(run_ids, step_slugs, task_indexes, fail_tasks.attempts, fail_tasks.errors);
    perform pgflow._archive_obsolete(run_ids, step_slugs, task_indexes);
  end if;
  return query
  select * from pgflow._report_outcomes(
    run_ids, step_slugs, task_indexes, fail_tasks.attempts, v_held, array['failed']
  );
end
$$;

comment on function pgflow.fail_tasks(uuid[], text[], integer[], integer[], text[], jsonb[]) is
'Fail a batch of attempts: each is retried later or ends its task; reports are as those of complete_tasks.';
