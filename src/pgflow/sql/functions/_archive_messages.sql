-- Archive the messages of a run's queued and started tasks: of some of its steps, or of all with null. Called under the
-- run's exclusive lock, so only claims can hold one of the messages, and those wait for nothing. Locks: the messages.
create or replace function pgflow._archive_messages(p_run_id uuid, p_step_slugs text[] default null)
returns void
language plpgsql
set search_path = ''
as $$
declare
  v_queue record;
begin
  for v_queue in
    select
      coalesce(state.queue_name, state.flow_slug) as name,
      array_agg(task.message_id order by task.message_id) as message_ids
    from pgflow.step_states as state
    inner join pgflow.step_tasks as task on state.run_id = task.run_id and state.step_slug = task.step_slug
    where
      state.run_id = p_run_id
      and (p_step_slugs is null or state.step_slug = any(p_step_slugs))
      and task.status in ('queued', 'started')
      and task.message_id is not null
    group by 1
    order by 1
  loop
    perform pgflow._archive(v_queue.name, v_queue.message_ids);
  end loop;
end
$$;

comment on function pgflow._archive_messages(uuid, text[]) is
'Archive the messages of the unfinished tasks of a run, or of some of its steps.';
