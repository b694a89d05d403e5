-- Set the visibility of many messages at once, each to the wall clock plus its own offset in seconds. Returns the
-- messages that exist. Locks: the messages, by id.
create or replace function pgflow.set_vt_batch(queue_name text, msg_ids bigint[], vt_offsets integer[])
returns table (
  msg_id bigint, read_ct integer, enqueued_at timestamptz, vt timestamptz, message jsonb, headers jsonb
)
language plpgsql
set search_path = ''
as $$
begin
  if msg_ids is null or vt_offsets is null or (cardinality(msg_ids) = 0 and cardinality(vt_offsets) = 0) then
    return;
  end if;
  if cardinality(msg_ids) <> cardinality(vt_offsets) then
    raise exception 'msg_ids length (%) must equal vt_offsets length (%)', cardinality(msg_ids), cardinality(vt_offsets);
  end if;
  return query execute format(
    $sql$
    update pgmq.%I as message
    set vt = clock_timestamp() + make_interval(secs => ($2)[array_position($1, message.msg_id)])
    where message.msg_id = any($1)
    returning message.msg_id, message.read_ct, message.enqueued_at, message.vt, message.message, message.headers
    $sql$,
    pgmq.format_table_name(queue_name, 'q')
  )
  using msg_ids, vt_offsets;
end
$$;

comment on function pgflow.set_vt_batch(text, bigint[], integer[]) is
'Make each message visible its own number of seconds from now; returns the messages that were found.';
