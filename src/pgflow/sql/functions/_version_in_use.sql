-- Find out whether a flow is defined already as it shall be, shape and options alike. Takes no locks.
create or replace function pgflow._version_in_use(p_flow_slug text, p_hash text, p_definition jsonb)
returns integer
language plpgsql
stable
set search_path = ''
as $$
begin
  return (
    select known.version
    from pgflow.flows as flow
    inner join pgflow.flow_versions as known on flow.flow_slug = known.flow_slug and flow.version = known.version
    where flow.flow_slug = p_flow_slug and flow.shape_hash = p_hash and known.definition = p_definition
  );
end
$$;

comment on function pgflow._version_in_use(text, text, jsonb) is
'The version of a flow if its present definition is this one; else null.';
