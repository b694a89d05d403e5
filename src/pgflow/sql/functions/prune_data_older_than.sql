-- Delete what has been over for longer than an interval: runs with their tasks, states, attempts and messages, archived
-- messages, quarantined ones, and workers without a heartbeat since. Live runs stay whatever their age.
-- Locks: the runs exclusively, by id; then everything of theirs; then those workers' rows that are free.
create or replace function pgflow.prune_data_older_than(retention_interval interval)
returns void
language plpgsql
set search_path = ''
as $$
declare
  v_cutoff timestamptz := now() - retention_interval;
  v_run_ids uuid[];
  v_queue text;
begin
  select array_agg(expired.run_id) into v_run_ids
  from (
    select run.run_id from pgflow.runs as run
    where
      run.status <> 'started'
      and (run.completed_at < v_cutoff or run.failed_at < v_cutoff or run.cancelled_at < v_cutoff)
    order by run.run_id
    for update
  ) as expired;
  perform pgflow._delete_run_messages(v_run_ids);
  delete from pgflow.step_tasks as task where task.run_id = any(v_run_ids);
  delete from pgflow.step_states as state where state.run_id = any(v_run_ids);
  delete from pgflow.runs as run where run.run_id = any(v_run_ids);
  for v_queue in
    select pgflow._queue_name(flow.flow_slug) from pgflow.flows as flow
    union
    select step.opt_queue from pgflow.steps as step where step.opt_queue is not null
    order by 1
  loop
    if to_regclass(format('pgmq.%I', pgmq.format_table_name(v_queue, 'a'))) is not null then
      execute format(
        'delete from pgmq.%I as message where message.archived_at < $1', pgmq.format_table_name(v_queue, 'a')
      ) using v_cutoff;
    end if;
  end loop;
  delete from pgflow.quarantined_messages as message where message.quarantined_at < v_cutoff;
  delete from pgflow.workers as worker
  where worker.worker_id = any(array(
    select silent.worker_id from pgflow.workers as silent where silent.last_heartbeat_at < v_cutoff for update skip locked
  ));
end
$$;

comment on function pgflow.prune_data_older_than(interval) is
'Delete runs that ended, messages archived and workers last seen before now minus the interval.';
