-- Mend what can be mended without a decision: send messages anew that are lost, archive those of tasks that are over
-- and those that a task has twice, quarantine those of no task. Returns the findings that are gone by it. What another
-- session holds is left for the next time, so it waits for nobody. Locks: one run after the other, shared, its tasks;
-- then messages; each only if it is free.
create or replace function pgflow.mend_invariants(run_ids uuid[] default null)
returns setof pgflow.invariant_finding
language plpgsql
set search_path = ''
as $$
declare
  v_before pgflow.invariant_finding[] := array(
    select finding from pgflow.check_invariants(mend_invariants.run_ids) as finding where finding.safe
  );
  v_after pgflow.invariant_finding[];
  v_run_id uuid;
  v_queue record;
begin
  for v_run_id in
    select distinct finding.run_id from unnest(v_before) as finding
    where finding.invariant = 'lost_message'
    order by finding.run_id
  loop
    perform 1 from pgflow.runs as run where run.run_id = v_run_id and run.status = 'started' for key share skip locked;
    if found then
      perform pgflow._send_lost_messages(v_run_id);
    end if;
  end loop;
  for v_queue in
    select finding.queue_name as name, array_agg(finding.msg_id order by finding.msg_id) as msg_ids
    from unnest(v_before) as finding
    where finding.invariant <> 'lost_message'
    group by finding.queue_name
    order by finding.queue_name
  loop
    perform pgflow._settle_free_messages(v_queue.name, v_queue.msg_ids);
  end loop;
  v_after := array(
    select finding from pgflow.check_invariants(mend_invariants.run_ids) as finding where finding.safe
  );
  return query
  select finding.* from unnest(v_before) as finding where not finding = any(v_after);
end
$$;

comment on function pgflow.mend_invariants(uuid[]) is
'Mend what check_invariants calls safe: lost, duplicate, finished and unknown messages; returns what is mended.';
