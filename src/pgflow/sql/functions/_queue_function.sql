-- Name the function of a queue that sends, reads or archives, to be called by name; it is made if it is missing.
create or replace function pgflow._queue_function(p_queue_name text, p_what text)
returns text
language plpgsql
set search_path = ''
as $$
declare
  v_name text := format('pgflow.%I', lower('q_' || p_queue_name) || '_' || p_what);
begin
  if to_regproc(v_name) is null then
    perform pgflow._make_queue_functions(p_queue_name);
  end if;
  return v_name;
end
$$;

comment on function pgflow._queue_function(text, text) is 'The name of a queue''s function.';
