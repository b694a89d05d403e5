-- Archive the messages of a batch of accepted reports, one call a queue. Locks: the messages.
create or replace function pgflow._archive_accepted(p_accepted pgflow.accepted_tasks)
returns void
language plpgsql
set search_path = ''
as $$
declare
  v_queue record;
begin
  for v_queue in
    select accepted.name, array_agg(accepted.message_id order by accepted.message_id) as message_ids
    from unnest(p_accepted.queue_names, p_accepted.message_ids) as accepted (name, message_id)
    where accepted.message_id is not null
    group by accepted.name
    order by accepted.name
  loop
    perform pgflow._archive(v_queue.name, v_queue.message_ids);
  end loop;
end
$$;

comment on function pgflow._archive_accepted(pgflow.accepted_tasks) is 'Archive the messages of accepted reports.';
