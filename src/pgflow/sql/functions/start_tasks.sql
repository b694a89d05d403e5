-- Start the tasks of messages that a worker has read itself. Tasks that are not queued, or whose run or step is not
-- live, are left out silently. Each message stays hidden until shortly after the step's timeout. Batches are taken apart,
-- since callers know of none.
-- Locks: the flow's row shared before its queue is read, since delete_flow_and_data drops that under its lock on the flow;
-- then the runs shared, the tasks' rows that are free, the messages.
create or replace function pgflow.start_tasks(flow_slug text, msg_ids bigint[], worker_id uuid)
returns setof pgflow.step_task_record
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
as $$
declare
  v_queue text := pgflow._queue_name(start_tasks.flow_slug);
  v_msg_ids bigint[];
  v_messages jsonb[];
  v_granted pgflow.granted_task[];
begin
  if coalesce(cardinality(start_tasks.msg_ids), 0) = 0 then
    return;
  end if;
  perform 1 from pgflow.flows as flow where flow.flow_slug = start_tasks.flow_slug for key share;
  execute format(
    $sql$
    select array_agg(message.msg_id), array_agg(message.message)
    from (
      select msg_id, message from pgmq.%I where msg_id = any($1)
      union all
      select msg_id, message from pgmq.%I where msg_id = any($1)
    ) as message
    where message.message ->> 'flow_slug' = $2
    $sql$,
    pgmq.format_table_name(v_queue, 'q'), pgmq.format_table_name(v_queue, 'a')
  )
  into v_msg_ids, v_messages
  using start_tasks.msg_ids, start_tasks.flow_slug;

  perform pgflow._lock_runs(
    array(select message.run_id from pgflow._task_messages(v_msg_ids, v_messages) as message where message.run_id is not null),
    '{}'
  );
  select array_agg(granted) into v_granted
  from pgflow._grant_tasks(v_msg_ids, v_messages, start_tasks.worker_id, false) as granted;
  if exists (select 1 from unnest(v_granted) as granted where granted.items is not null) then
    v_granted := pgflow._split_grants(v_granted, true);
  end if;
  perform pgflow.set_vt_batch(
    v_queue,
    array(select granted.msg_id from unnest(v_granted) as granted),
    array(select granted.timeout + 2 from unnest(v_granted) as granted)
  );
  return query
  select
    granted.flow_slug, granted.run_id, granted.step_slug, granted.input, granted.msg_id, granted.task_index,
    case when granted.step_type = 'single' then granted.flow_input end
  from unnest(v_granted) as granted;
end
$$;

comment on function pgflow.start_tasks(text, bigint[], uuid) is
'Start the queued tasks of some read messages of a flow for a worker, and return them with their inputs.';
