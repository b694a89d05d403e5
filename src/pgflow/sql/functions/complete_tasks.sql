-- Complete a batch of tasks with their outputs. The fence (the attempt number of the grant; null skips the check) must
-- be the task's current one. Accepts, archives the messages, counts each step down once, and finishes the steps that
-- reach zero. The counter comes late and the aggregate in a later statement, so that the batch which sees zero also
-- sees everybody's outputs. Reports come back in the order given.
-- Locks: runs shared (exclusively where a completion may fail the run), tasks, messages, steps.
create or replace function pgflow.complete_tasks(
  run_ids uuid[], step_slugs text[], task_indexes integer[], attempts integer[], outputs jsonb[]
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
  v_may_end uuid[] := pgflow._runs_that_may_end(run_ids, step_slugs, outputs);
  v_violation record;
  v_accepted pgflow.accepted_tasks;
begin
  perform pgflow._lock_runs(run_ids, v_may_end);
  v_accepted := pgflow._lock_held_tasks(run_ids, step_slugs, task_indexes, complete_tasks.attempts);
  if v_may_end <> '{}' then
    for v_violation in
      select * from pgflow._type_violations(run_ids, step_slugs, task_indexes, complete_tasks.attempts, outputs)
    loop
      perform pgflow._fail_type_violation(v_violation.run_id, v_violation.step_slug, v_violation.output);
    end loop;
    v_accepted := pgflow._lock_held_tasks(run_ids, step_slugs, task_indexes, complete_tasks.attempts);
  end if;
  perform pgflow._check_batch_outputs(v_accepted, outputs);
  update pgflow.step_tasks as task
  set status = 'completed', output = outputs[held.position], completed_at = greatest(now(), task.started_at)
  from unnest(v_accepted.ctids, v_accepted.positions) as held (place, position)
  where task.ctid = held.place;
  v_accepted.bytes := array(
    select coalesce(pg_column_size(outputs[held.position]), 0)
    from unnest(v_accepted.positions) with ordinality as held (position, number)
    order by held.number
  );

  perform pgflow._record_late_successes(v_accepted);
  perform pgflow._archive_accepted(v_accepted);
  perform pgflow._count_down(v_accepted);
  if coalesce(cardinality(v_accepted.run_ids), 0) < cardinality(run_ids) then
    perform pgflow._archive_obsolete(run_ids, step_slugs, task_indexes);
  end if;
  return query
  select * from pgflow._report_outcomes(
    run_ids, step_slugs, task_indexes, complete_tasks.attempts, v_accepted, array['completed']
  );
end
$$;

comment on function pgflow.complete_tasks(uuid[], text[], integer[], integer[], jsonb[]) is
'Complete a batch of tasks: accepted, already_accepted, stale (another attempt holds the task) or finished (run or step over).';
