-- Drop the functions of a queue that is dropped.
create or replace function pgflow._drop_queue_functions(p_queue_name text)
returns void
language plpgsql
set search_path = ''
as $$
declare
  v_what text;
begin
  foreach v_what in array array['send', 'read', 'archive'] loop
    execute format('drop function if exists pgflow.%I', lower('q_' || p_queue_name) || '_' || v_what);
  end loop;
end
$$;

comment on function pgflow._drop_queue_functions(text) is 'Drop the functions of one queue.';
