-- Find the unfinished tasks of some live runs whose message is not in the queue that it should be in, which may be gone
-- itself. Takes no locks.
create or replace function pgflow._check_lost_messages(p_queue_name text, p_run_ids uuid[])
returns setof pgflow.invariant_finding
language plpgsql
stable
set search_path = ''
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
as $$
declare
  v_table regclass := to_regclass(format('pgmq.%I', pgmq.format_table_name(p_queue_name, 'q')));
begin
  return query execute format(
    $sql$
    select
      'lost_message', 'error', task.run_id, task.step_slug, task.task_index, $1, task.message_id, %L,
      'select pgflow.resend_lost_messages(); which every worker calls about once a minute.', true
    from unnest($2) as checked (run_id)
    inner join pgflow.runs as run on checked.run_id = run.run_id
    inner join pgflow.step_states as state on run.run_id = state.run_id
    inner join pgflow.step_tasks as task on state.run_id = task.run_id and state.step_slug = task.step_slug
    where
      run.status = 'started' and state.status = 'started' and coalesce(state.queue_name, state.flow_slug) = $1
      and task.status in ('queued', 'started') and task.permanently_stalled_at is null %s
    $sql$,
    case
      when v_table is null then 'The task waits for a message, but its queue does not exist.'
      else 'The task is not over, but its message is not in the queue.'
    end,
    case
      when v_table is not null
        then format('and not exists (select 1 from %s as message where message.msg_id = task.message_id)', v_table)
    end
  ) using p_queue_name, p_run_ids;
end
$$;

comment on function pgflow._check_lost_messages(text, uuid[]) is 'Tasks of one queue that have no message in it.';
