-- Reconcile queues with tasks: send a message for every unfinished task of a live run that has none, as after a queue
-- was purged or restored by hand. Workers call it now and then. Locks: one run after the other, shared, then its tasks;
-- runs that another session holds exclusively are left for the next time.
create or replace function pgflow.resend_lost_messages()
returns integer
language plpgsql
set search_path = ''
as $$
declare
  v_run_id uuid;
  v_total int := 0;
begin
  for v_run_id in
    select run.run_id from pgflow.runs as run
    where
      run.completed_at is null and run.failed_at is null and run.cancelled_at is null and run.status = 'started'
    order by run.run_id
  loop
    perform 1 from pgflow.runs as run
    where run.run_id = v_run_id and run.status = 'started'
    for key share skip locked;
    if found then
      v_total := v_total + pgflow._send_lost_messages(v_run_id);
    end if;
  end loop;
  return v_total;
end
$$;

comment on function pgflow.resend_lost_messages() is
'Send messages for unfinished tasks that have none; returns how many were sent.';
