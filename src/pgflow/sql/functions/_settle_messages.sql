-- Put messages right that a claim has read without being granted their task. No task at all: quarantined. A task that
-- is over, of a run or step that is over, or that has another message: archived. A step that the worker can't run, or a
-- task that another session holds: visible again soon. Called with the messages locked; waits for nothing.
create or replace function pgflow._settle_messages(
  p_queue_name text, p_msg_ids bigint[], p_messages jsonb[], p_granted_ids bigint[]
)
returns void
language plpgsql
set search_path = ''
as $$
declare
  v_unknown bigint[];
  v_over bigint[];
  v_later bigint[];
begin
  with verdict as (
    select
      message.msg_id,
      case
        when task.run_id is null then 'unknown'
        when
          task.message_id is distinct from message.msg_id
          or task.status in ('completed', 'failed')
          or task.permanently_stalled_at is not null
          or state.status <> 'started'
          or run.status <> 'started' then 'over'
        else 'later'
      end as kind
    from pgflow._task_messages(p_msg_ids, p_messages) as message
    left join lateral (
      select * from pgflow.step_tasks as known
      where
        known.run_id = message.run_id and known.step_slug = message.step_slug
        and known.task_index = message.task_index
      offset 0
    ) as task on true
    left join lateral (
      select * from pgflow.step_states as known
      where known.run_id = message.run_id and known.step_slug = message.step_slug
      offset 0
    ) as state on true
    left join lateral (
      select * from pgflow.runs as known where known.run_id = message.run_id offset 0
    ) as run on true
    where message.msg_id <> all(p_granted_ids)
  )
  select
    array_agg(verdict.msg_id) filter (where verdict.kind = 'unknown'),
    array_agg(verdict.msg_id) filter (where verdict.kind = 'over'),
    array_agg(verdict.msg_id) filter (where verdict.kind = 'later')
  into v_unknown, v_over, v_later
  from verdict;

  insert into pgflow.quarantined_messages (queue_name, msg_id, message, reason)
  select p_queue_name, message.msg_id, message.body, 'The message belongs to no task.'
  from unnest(p_msg_ids, p_messages) as message (msg_id, body)
  where message.msg_id = any(v_unknown);
  if v_unknown is not null then
    perform pgmq.delete(p_queue_name, v_unknown);
  end if;
  if v_over is not null then
    perform pgflow._archive(p_queue_name, v_over);
  end if;
  if v_later is not null then
    perform pgflow._delay_messages(p_queue_name, v_later, array_fill(2::real, array[cardinality(v_later)]));
  end if;
end
$$;

comment on function pgflow._settle_messages(text, bigint[], jsonb[], bigint[]) is
'Quarantine, archive or put back the messages that a claim could not grant.';
