-- Raise when a root map of a flow can't go over the input of a new run, or may not over so many items.
create or replace function pgflow._check_array_input(p_flow_slug text, p_input jsonb, p_max_items integer)
returns void
language plpgsql
immutable
set search_path = ''
as $$
begin
  if p_input is null then
    raise exception 'Flow % has root map steps but input is NULL', p_flow_slug;
  elsif jsonb_typeof(p_input) <> 'array' then
    raise exception 'Flow % has root map steps but input is not an array (got %)', p_flow_slug, jsonb_typeof(p_input);
  elsif jsonb_array_length(p_input) > p_max_items then
    raise exception 'Flow % allows maps of % items, and the input has %', p_flow_slug, p_max_items, jsonb_array_length(p_input);
  end if;
end
$$;

comment on function pgflow._check_array_input(text, jsonb, integer) is 'The check that root maps have an array to go over.';
