-- Count the items of a step whose tasks run, by the messages that are hidden, which are few where the step is large. A
-- task whose lease has expired is not among them. Called by _count_items. Takes no locks.
create or replace function pgflow._running_items(p_run_id uuid, p_step_slug text, p_queue_name text)
returns bigint
language plpgsql
stable
set search_path = ''
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
  v_table regclass := to_regclass(format('pgmq.%I', pgmq.format_table_name(p_queue_name, 'q')));
  v_hidden pgflow.read_messages;
begin
  if v_table is null then
    return 0;
  end if;
  execute format(
    $sql$
    select array_agg(hidden.msg_id), array_agg(hidden.message) from %s as hidden
    where
      hidden.vt > $3 and hidden.message ->> 'run_id' = $1::text and hidden.message ->> 'step_slug' = $2
    $sql$, v_table
  ) into v_hidden using p_run_id, p_step_slug, clock_timestamp();
  return (
    select coalesce(sum(coalesce(task.items, 1)), 0)
    from pgflow._task_messages(v_hidden.msg_ids, v_hidden.messages) as message
    cross join lateral (
      select known.items from pgflow.step_tasks as known
      where
        known.run_id = message.run_id and known.step_slug = message.step_slug and known.task_index = message.task_index
        and known.message_id = message.msg_id and known.status = 'started'
      offset 0
    ) as task
  );
end
$$;

comment on function pgflow._running_items(uuid, text, text) is 'The number of items of a step that workers hold.';
