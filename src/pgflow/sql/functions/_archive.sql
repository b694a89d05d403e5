-- Archive messages of one queue; those that are not there are ignored. Locks: the messages.
create or replace function pgflow._archive(p_queue_name text, p_msg_ids bigint[])
returns void
language plpgsql
set search_path = ''
as $$
begin
  execute 'select ' || pgflow._queue_function(p_queue_name, 'archive') || '($1)' using p_msg_ids;
end
$$;

comment on function pgflow._archive(text, bigint[]) is 'Archive messages.';
