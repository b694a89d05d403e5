-- Send a message for every unfinished task of a live run that has none in its queue. A task that is started gets it
-- behind a lease, so that a worker which still runs it can report first. Tasks that another session holds are left out.
-- Returns how many. Locks: the tasks that are free.
create or replace function pgflow._send_lost_messages(p_run_id uuid)
returns integer
language plpgsql
set search_path = ''
as $$
declare
  v_queue text;
  v_sent int;
  v_total int := 0;
begin
  for v_queue in
    select distinct coalesce(state.queue_name, state.flow_slug) from pgflow.step_states as state
    where state.run_id = p_run_id and state.status = 'started'
    order by 1
  loop
    perform pgflow.ensure_queue(v_queue);
    execute format(
      $sql$
      with lost as materialized (
        select task.flow_slug, task.run_id, task.step_slug, task.task_index, task.status, task.ctid as place
        from pgflow.step_states as state
        inner join pgflow.step_tasks as task on state.run_id = task.run_id and state.step_slug = task.step_slug
        where
          state.run_id = $1 and state.status = 'started' and coalesce(state.queue_name, state.flow_slug) = $2
          and task.status in ('queued', 'started') and task.permanently_stalled_at is null
          and not exists (select 1 from %1$s as message where message.msg_id = task.message_id)
        order by state.step_index, task.task_index
        for update of task skip locked
      ),
      fresh as materialized (select nextval(%2$L) as msg_id, lost.* from lost),
      sent as (
        insert into %1$s (msg_id, vt, message) overriding system value
        select fresh.msg_id, $3 + case fresh.status when 'started' then interval '30 s' else '0' end, jsonb_build_object(
          'flow_slug', fresh.flow_slug, 'run_id', fresh.run_id,
          'step_slug', fresh.step_slug, 'task_index', fresh.task_index
        )
        from fresh
      )
      update pgflow.step_tasks as task
      set message_id = fresh.msg_id
      from fresh
      where task.ctid = fresh.place
      $sql$,
      format('pgmq.%I', pgmq.format_table_name(v_queue, 'q')),
      pg_get_serial_sequence(format('pgmq.%I', pgmq.format_table_name(v_queue, 'q')), 'msg_id')
    )
    using p_run_id, v_queue, clock_timestamp();
    get diagnostics v_sent = row_count;
    if v_sent > 0 then
      perform pg_notify('pgflow_wake', v_queue);
    end if;
    v_total := v_total + v_sent;
  end loop;
  return v_total;
end
$$;

comment on function pgflow._send_lost_messages(uuid) is 'Send messages for the unfinished tasks of a run that have none.';
