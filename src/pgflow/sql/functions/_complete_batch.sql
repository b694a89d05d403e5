-- Complete a batch of tasks: what complete_tasks and complete_and_claim share. The counter comes late and the aggregate
-- in a later statement, so that the batch which sees zero also sees everybody's outputs.
-- Locks: runs shared (exclusively where a completion may fail the run), tasks, messages, steps.
create or replace function pgflow._complete_batch(
  p_run_ids uuid[], p_step_slugs text[], p_task_indexes integer[], p_attempts integer[], p_outputs jsonb[],
  p_taker pgflow.taker
)
returns pgflow.completed_work
language plpgsql
set search_path = ''
as $$
declare
  v_may_end uuid[];
  v_violation record;
  v_work pgflow.completed_work;
  v_single record;
begin
  if cardinality(p_run_ids) = 1 then
    v_single := pgflow._complete_single(p_run_ids[1], p_step_slugs[1], p_task_indexes[1], p_attempts[1], p_outputs[1], p_taker);
    if v_single.is_done then
      v_work.accepted.run_ids := p_run_ids;
      v_work.granted := v_single.granted;
      return v_work;
    end if;
  end if;
  v_may_end := pgflow._runs_that_may_end(p_run_ids, p_step_slugs, p_outputs);
  perform pgflow._lock_runs(p_run_ids, v_may_end);
  v_work.accepted := pgflow._lock_held_tasks(p_run_ids, p_step_slugs, p_task_indexes, p_attempts);
  if v_may_end <> '{}' then
    for v_violation in
      select distinct on (found.run_id) found.*  -- a run fails once, by the first of its violations
      from pgflow._type_violations(p_run_ids, p_step_slugs, p_task_indexes, p_attempts, p_outputs)
        with ordinality as found (run_id, step_slug, output, position)
      order by found.run_id, found.position
    loop
      perform pgflow._fail_type_violation(v_violation.run_id, v_violation.step_slug, v_violation.output);
    end loop;
    v_work.accepted := pgflow._lock_held_tasks(p_run_ids, p_step_slugs, p_task_indexes, p_attempts);
  end if;
  if (v_work.accepted).run_ids is not null then
    perform pgflow._check_batch_outputs(v_work.accepted, p_outputs);
    v_work.accepted.bytes := pgflow._store_outputs(v_work.accepted, p_outputs);
    perform pgflow._record_late_successes(v_work.accepted);
    perform pgflow._archive_accepted(v_work.accepted);
    v_work.granted := pgflow._count_down(v_work.accepted, p_taker);
  end if;
  if coalesce(cardinality((v_work.accepted).run_ids), 0) < cardinality(p_run_ids) then
    perform pgflow._archive_obsolete(p_run_ids, p_step_slugs, p_task_indexes);
  end if;
  return v_work;
end
$$;

comment on function pgflow._complete_batch(uuid[], text[], integer[], integer[], jsonb[], pgflow.taker) is
'Complete a batch of tasks and return what was accepted, and what the worker took in turn.';
