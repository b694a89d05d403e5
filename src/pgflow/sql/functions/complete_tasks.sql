-- Complete a batch of tasks with their outputs. The fence (the attempt number of the grant; null skips the check) must
-- be the task's current one. Accepts, archives the messages, counts each step down once, and finishes the steps that
-- reach zero. Reports come back in the order given.
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
  v_work pgflow.completed_work := pgflow._complete_batch(
    run_ids, step_slugs, task_indexes, complete_tasks.attempts, outputs, null
  );
begin
  return query
  select * from pgflow._report_outcomes(
    run_ids, step_slugs, task_indexes, complete_tasks.attempts, v_work.accepted, array['completed']
  );
end
$$;

comment on function pgflow.complete_tasks(uuid[], text[], integer[], integer[], jsonb[]) is
'Complete a batch of tasks: accepted, already_accepted, stale (another attempt holds the task) or finished (run or step over).';
