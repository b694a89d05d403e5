-- Return the input of a new run, or raise when a root map of the flow can't go over it.
create or replace function pgflow._checked_input(p_flow_slug text, p_has_root_maps boolean, p_input jsonb)
returns jsonb
language plpgsql
immutable
set search_path = ''
as $$
begin
  if p_has_root_maps and p_input is null then
    raise exception 'Flow % has root map steps but input is NULL', p_flow_slug;
  elsif p_has_root_maps and jsonb_typeof(p_input) <> 'array' then
    raise exception 'Flow % has root map steps but input is not an array (got %)',
      p_flow_slug, jsonb_typeof(p_input);
  end if;
  return p_input;
end
$$;

comment on function pgflow._checked_input(text, boolean, jsonb) is
'The input as given, after the check that root maps have an array to go over.';
