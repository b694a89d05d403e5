-- Make messages of one queue visible so many seconds from now, fractions included. Locks: the messages, by id.
create or replace function pgflow._delay_messages(p_queue_name text, p_msg_ids bigint[], p_seconds real[])
returns void
language plpgsql
set search_path = ''
as $$
begin
  execute format(
    $sql$
    update pgmq.%I as message
    set vt = clock_timestamp() + make_interval(secs => ($2)[array_position($1, message.msg_id)])
    where message.msg_id = any($1)
    $sql$,
    pgmq.format_table_name(p_queue_name, 'q')
  )
  using p_msg_ids, p_seconds;
end
$$;

comment on function pgflow._delay_messages(text, bigint[], real[]) is 'Set the visibility of messages in seconds from now.';
