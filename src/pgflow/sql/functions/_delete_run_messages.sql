-- Delete the live messages of some runs from every queue that they use. Called under the runs' exclusive locks.
create or replace function pgflow._delete_run_messages(p_run_ids uuid[])
returns void
language plpgsql
set search_path = ''
as $$
declare
  v_queue record;
begin
  for v_queue in
    select
      coalesce(state.queue_name, pgflow._queue_name(state.flow_slug)) as name,
      array_agg(task.message_id order by task.message_id) as message_ids
    from pgflow.step_tasks as task
    inner join pgflow.step_states as state on task.run_id = state.run_id and task.step_slug = state.step_slug
    where task.run_id = any(p_run_ids) and task.message_id is not null
    group by 1
    order by 1
  loop
    if to_regclass(format('pgmq.%I', pgmq.format_table_name(v_queue.name, 'q'))) is not null then
      perform pgmq.delete(v_queue.name, v_queue.message_ids);
    end if;
  end loop;
end
$$;

comment on function pgflow._delete_run_messages(uuid[]) is 'Delete the messages of all tasks of some runs.';
