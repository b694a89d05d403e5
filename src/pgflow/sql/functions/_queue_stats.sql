-- Count the messages of every queue that flows use. Reads each queue's table once.
create or replace function pgflow._queue_stats()
returns setof pgflow.queue_stats
language plpgsql
stable
set search_path = ''
as $$
declare
  v_queue text;
begin
  for v_queue in
    select * from pgflow._known_queues()
  loop
    if to_regclass(format('pgmq.%I', pgmq.format_table_name(v_queue, 'q'))) is not null then
      return query execute format(
        $sql$
        select
          $1, count(*) filter (where message.vt <= clock_timestamp()),
          count(*) filter (where message.vt > clock_timestamp()), count(*),
          extract(
            epoch from clock_timestamp() - min(message.enqueued_at) filter (where message.vt <= clock_timestamp())
          )::float8
        from pgmq.%I as message
        $sql$,
        pgmq.format_table_name(v_queue, 'q')
      ) using v_queue;
    end if;
  end loop;
end
$$;

comment on function pgflow._queue_stats() is 'The numbers of messages in each queue.';
