-- Delay the messages of tasks that are to be retried, and archive those of tasks that failed for good (delay null).
-- Workers are woken, unless p_wakes is false, at once also for what is due later: who sleeps has to learn of the time.
-- Locks: the messages, by queue and id.
create or replace function pgflow._put_back(
  p_queue_names text[], p_message_ids bigint[], p_delays real[], p_wakes boolean default true
)
returns void
language plpgsql
set search_path = ''
as $$
declare
  v_queue record;
begin
  for v_queue in
    select
      message.queue_name,
      array_agg(message.id order by message.id) filter (where message.delay is null) as over_ids,
      array_agg(message.id order by message.id) filter (where message.delay is not null) as retry_ids,
      array_agg(message.delay order by message.id) filter (where message.delay is not null) as delays
    from unnest(p_queue_names, p_message_ids, p_delays) as message (queue_name, id, delay)
    where message.id is not null
    group by message.queue_name
    order by message.queue_name
  loop
    if v_queue.over_ids is not null then
      perform pgflow._archive(v_queue.queue_name, v_queue.over_ids);
    end if;
    if v_queue.retry_ids is not null then
      perform pgflow._delay_messages(v_queue.queue_name, v_queue.retry_ids, v_queue.delays);
      if p_wakes then
        perform pg_notify('pgflow_wake', v_queue.queue_name);
      end if;
    end if;
  end loop;
end
$$;

comment on function pgflow._put_back(text[], bigint[], real[], boolean) is
'Delay or archive the messages of tasks that did not succeed.';
