-- Put some messages of a queue right as a claim does that reads them, whether they are due or not; those that another
-- session holds are left. A message of a task that waits or runs after all keeps its time, since another session may
-- have put it right meanwhile. Locks: the messages that are free.
create or replace function pgflow._settle_free_messages(p_queue_name text, p_msg_ids bigint[])
returns void
language plpgsql
set search_path = ''
as $$
declare
  v_read pgflow.read_messages;
  v_right bigint[];
begin
  execute format(
    $sql$
    select array_agg(free.msg_id), array_agg(free.message) from (
      select message.msg_id, message.message from pgmq.%I as message
      where message.msg_id = any($1) order by message.msg_id for update skip locked
    ) as free
    $sql$, pgmq.format_table_name(p_queue_name, 'q')
  ) into v_read using p_msg_ids;
  v_right := array(
    select named.msg_id
    from pgflow._task_messages(v_read.msg_ids, v_read.messages) as named
    inner join pgflow.runs as run on named.run_id = run.run_id
    inner join pgflow.step_states as state on named.run_id = state.run_id and named.step_slug = state.step_slug
    inner join pgflow.step_tasks as task
      on named.run_id = task.run_id and named.step_slug = task.step_slug and named.task_index = task.task_index
    where pgflow._message_verdict(run, state, task, named.msg_id, 'infinity') is null
  );
  perform pgflow._settle_messages(p_queue_name, v_read.msg_ids, v_read.messages, v_right);
end
$$;

comment on function pgflow._settle_free_messages(text, bigint[]) is 'Settle messages that no session holds.';
