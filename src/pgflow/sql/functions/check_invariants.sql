-- Look for what must never be so: counters that are not the truth, tasks without messages and messages without tasks,
-- runs that can't go on, outputs that are missing. Of some runs, or of all that are live and the latest that are over
-- (_runs_to_check); for all runs every message in the queues is looked at, but not for a role bound to a tenant. Stable,
-- so everything is seen in the caller's one snapshot; the cost grows with those runs and messages, not with history.
-- Takes no locks.
create or replace function pgflow.check_invariants(run_ids uuid[] default null)
returns setof pgflow.invariant_finding
language plpgsql
stable
set search_path = ''
as $$
declare
  v_run_ids uuid[] := pgflow._runs_to_check(run_ids);
  v_queue text;
begin
  return query select * from pgflow._check_runs(v_run_ids);
  return query select * from pgflow._check_steps(v_run_ids);
  return query select * from pgflow._check_outputs(v_run_ids);
  return query select * from pgflow._check_tasks(v_run_ids);
  for v_queue in select * from pgflow._queues_in_use(v_run_ids) loop
    return query select * from pgflow._check_lost_messages(v_queue, v_run_ids);
    return query select * from pgflow._check_messages(
      v_queue, case when run_ids is not null or pgflow._session_tenant() is not null then v_run_ids end
    );
  end loop;
  return query
  select
    'quarantined_message', 'warning', task.run_id, task.step_slug, task.task_index, message.queue_name, message.msg_id,
    message.reason,
    format(
      'Find out who sent it, then: delete from pgflow.quarantined_messages where queue_name = %L and msg_id = %s;',
      message.queue_name, message.msg_id
    ), false
  from pgflow.quarantined_messages as message
  cross join lateral pgflow._task_messages(array[message.msg_id], array[message.message]) as task
  where run_ids is null or task.run_id = any(run_ids);
end
$$;

comment on function pgflow.check_invariants(uuid[]) is
'What must never be so, with the mend of each finding: of some runs, or of all that live or started lately.';
