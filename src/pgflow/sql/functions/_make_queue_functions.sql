-- Make the three functions that send, read and archive the messages of one queue. They name its tables, so that each
-- session plans their statements once; a statement put together at each call costs more to plan than to run. They have
-- the columns that the installed pgmq gives its tables. Called when a queue is first used, and at each install; raises
-- for a queue that does not exist.
create or replace function pgflow._make_queue_functions(p_queue_name text)
returns void
language plpgsql
set search_path = ''
as $make$
declare
  v_table text := lower('q_' || p_queue_name);
  v_archive text := lower('a_' || p_queue_name);
  v_columns text := (
    select string_agg(format('%I', attribute.attname), ', ' order by attribute.attnum)
    from pg_catalog.pg_attribute as attribute
    where
      attribute.attrelid = format('pgmq.%I', v_table)::regclass and attribute.attnum > 0 and not attribute.attisdropped
  );
begin
  perform pg_advisory_xact_lock(hashtextextended('pgflow.queue ' || v_table, 0));
  perform pgflow._make_function(
    v_table || '_send', 'p_times timestamptz[], p_messages jsonb[]', 'bigint[]',
    format($body$
    with sent as (
      insert into pgmq.%I (vt, message) select * from unnest(p_times, p_messages) returning msg_id
    )
    select array_agg(sent.msg_id) into v_result from sent
    $body$, v_table)
  );
  perform pgflow._make_function(
    v_table || '_read', 'p_now timestamptz, p_lease integer, p_oldest integer, p_newest integer, p_steps text[]',
    'pgflow.read_messages',
    format($body$
    with oldest as materialized (
      select due.msg_id from pgmq.%1$I as due
      where due.vt <= p_now and %2$s
      order by due.vt limit p_oldest for update skip locked
    ),
    newest as materialized (
      select due.msg_id from pgmq.%1$I as due
      where due.vt <= p_now and %2$s
      order by due.vt desc limit p_newest for update skip locked
    ),
    hidden as (
      update pgmq.%1$I as message
      set vt = p_now + make_interval(secs => p_lease), read_ct = message.read_ct + 1
      where message.msg_id = any(array(select msg_id from oldest union select msg_id from newest))
      returning message.msg_id, message.message
    )
    select array_agg(hidden.msg_id), array_agg(hidden.message) into v_result from hidden
    $body$, v_table, $filter$(
      p_steps is null or coalesce((due.message ->> 'flow_slug') || '.' || (due.message ->> 'step_slug') = any(p_steps), true)
    )$filter$)
  );
  perform pgflow._make_function(
    v_table || '_archive', 'p_msg_ids bigint[]', 'bigint',
    format($body$
    with archived as (delete from pgmq.%1$I where msg_id = any(p_msg_ids) returning %3$s)
    insert into pgmq.%2$I (%3$s) select %3$s from archived;
    get diagnostics v_result = row_count
    $body$, v_table, v_archive, v_columns)
  );
end
$make$;

comment on function pgflow._make_queue_functions(text) is 'Make the functions that work on the messages of one queue.';
