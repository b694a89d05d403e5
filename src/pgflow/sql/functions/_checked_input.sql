-- Return the input of a new run, or raise when a root map of the flow can't go over it.
create or replace function pgflow._checked_input(p_flow pgflow.flows, p_version integer, p_input jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
begin
  if coalesce(jsonb_typeof(p_input), 'null') <> 'array' and (
    case
      when p_flow.flow_slug is null then false
      when p_flow.version = p_version then exists (
        select 1 from pgflow.steps as step
        where
          step.flow_slug = p_flow.flow_slug
          and step.step_type = 'map'
          and step.deps_count = 0
          and step.opt_initial_tasks is null
      )
      else exists (
        select 1 from pgflow._version_steps(p_flow.flow_slug, p_version) as step
        where
          step.step_type = 'map'
          and cardinality(step.deps) = 0
          and step.initial_tasks is null
      )
    end
  ) then
    if p_input is null then
      raise exception 'Flow % has root map steps but input is NULL', p_flow.flow_slug;
    end if;
    raise exception 'Flow % has root map steps but input is not an array (got %)',
      p_flow.flow_slug, jsonb_typeof(p_input);
  end if;
  return p_input;
end
$$;

comment on function pgflow._checked_input(pgflow.flows, integer, jsonb) is
'The input as given, after the check that root maps have an array to go over.';
