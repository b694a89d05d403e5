-- Make one function of a queue from its parameters, its result and the statement that gives v_result. It keeps one
-- plan, by the indexes, whatever the statistics of a queue say that fills and empties within seconds. Nobody but its
-- owner may call it. Its names come from the catalogue, quoted by the caller.
create or replace function pgflow._make_function(p_name text, p_parameters text, p_result text, p_statement text)
returns void
language plpgsql
set search_path = ''
as $make$
begin
  execute format(
    $function$
    create or replace function pgflow.%1$I(%2$s)
    returns %3$s
    language plpgsql
    set search_path = ''
    set plan_cache_mode = force_generic_plan
    set enable_seqscan = off
    set enable_bitmapscan = off
    set enable_hashjoin = off
    set enable_mergejoin = off
    as $$
    declare
      v_result %3$s;
    begin
      %4$s;
      return v_result;
    end
    $$
    $function$,
    p_name, p_parameters, p_result, p_statement
  );
  execute format('revoke all on function pgflow.%I from public', p_name);
  execute format('comment on function pgflow.%I is %L', p_name, 'Made by _make_queue_functions for one queue.');
end
$make$;

comment on function pgflow._make_function(text, text, text, text) is 'Make a function that works on one queue.';
