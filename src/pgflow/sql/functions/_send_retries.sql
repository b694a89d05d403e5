-- Send a message for each of some tasks that has none, due after its delay; a null delay sends none. Such tasks are the
-- items of a batch that has just been taken apart. Workers are woken. The caller holds the
-- tasks. Locks: none but the new messages'.
create or replace function pgflow._send_retries(p_tasks pgflow.accepted_tasks, p_delays real[])
returns void
language plpgsql
set search_path = ''
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
as $$
declare
  v_queue record;
  v_table text;
begin
  if array_position(p_tasks.message_ids, null) is null then
    return;
  end if;
  for v_queue in
    select
      task.queue_name as name, array_agg(task.run_id order by task.number) as run_ids,
      array_agg(task.step_slug order by task.number) as step_slugs,
      array_agg(task.task_index order by task.number) as task_indexes,
      array_agg(task.delay order by task.number) as delays
    from unnest(
      p_tasks.run_ids, p_tasks.step_slugs, p_tasks.task_indexes, p_tasks.message_ids, p_tasks.queue_names, p_delays
    ) with ordinality as task (run_id, step_slug, task_index, message_id, queue_name, delay, number)
    where task.message_id is null and task.delay is not null
    group by task.queue_name
    order by task.queue_name
  loop
    v_table := format('pgmq.%I', pgmq.format_table_name(v_queue.name, 'q'));
    execute format(
      $sql$
      with fresh as materialized (
        select nextval(%2$L) as msg_id, item.*, task.place, task.flow_slug
        from unnest($1, $2, $3, $4) as item (run_id, step_slug, task_index, delay)
        cross join lateral (
          select known.ctid as place, known.flow_slug from pgflow.step_tasks as known
          where
            known.run_id = item.run_id and known.step_slug = item.step_slug and known.task_index = item.task_index
          offset 0
        ) as task
      ),
      sent as (
        insert into %1$s (msg_id, vt, message) overriding system value
        select fresh.msg_id, $5 + make_interval(secs => fresh.delay), jsonb_build_object(
          'flow_slug', fresh.flow_slug, 'run_id', fresh.run_id,
          'step_slug', fresh.step_slug, 'task_index', fresh.task_index
        )
        from fresh
      )
      update pgflow.step_tasks as task set message_id = fresh.msg_id from fresh where task.ctid = fresh.place
      $sql$,
      v_table, pg_get_serial_sequence(v_table, 'msg_id')
    )
    using v_queue.run_ids, v_queue.step_slugs, v_queue.task_indexes, v_queue.delays, clock_timestamp();
    perform pg_notify('pgflow_wake', v_queue.name);
  end loop;
end
$$;

comment on function pgflow._send_retries(pgflow.accepted_tasks, real[]) is
'Send messages, each after its delay, for those of some tasks that have none.';
