-- Read from messages which task each is for. Anybody may have written them, so what is no key becomes null. Claims to
-- return one row for the same reason as _reports.
create or replace function pgflow._task_messages(p_msg_ids bigint[], p_messages jsonb[])
returns setof pgflow.task_message
language plpgsql
immutable
rows 1
set search_path = ''
as $$
begin
  return query
  select
    message.msg_id,
    case
      when message.body ->> 'run_id' ~ '^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$'
        then (message.body ->> 'run_id')::uuid
    end,
    message.body ->> 'step_slug',
    case when message.body ->> 'task_index' ~ '^[0-9]{1,9}$' then (message.body ->> 'task_index')::int end,
    message.body
  from unnest(p_msg_ids, p_messages) as message (msg_id, body);
end
$$;

comment on function pgflow._task_messages(bigint[], jsonb[]) is 'Messages with the keys of the tasks that they name.';
