-- Sum up what a run of a flow's version has to know of its plan before it starts.
create or replace function pgflow._plan_summary(p_flow pgflow.flows, p_version integer)
returns pgflow.plan_summary
language plpgsql
stable
set search_path = ''
as $$
declare
  v_plan pgflow.plan_summary;
begin
  if p_flow.version = p_version then
    select
      count(*),
      bool_or(step.step_type = 'map'),
      bool_or(step.step_type = 'map' and step.deps_count = 0 and step.opt_initial_tasks is null),
      bool_or(num_nonnulls(step.required_input_pattern, step.forbidden_input_pattern) > 0),
      bool_or(
        num_nonnulls(step.required_input_pattern, step.forbidden_input_pattern) > 0 and step.when_unmet = 'fail'
      )
    into v_plan
    from pgflow.steps as step
    where step.flow_slug = p_flow.flow_slug;
  elsif p_flow.flow_slug is not null then
    select
      count(*),
      bool_or(step.step_type = 'map'),
      bool_or(step.step_type = 'map' and step.deps = '{}' and step.initial_tasks is null),
      bool_or(num_nonnulls(step.required_input_pattern, step.forbidden_input_pattern) > 0),
      bool_or(
        num_nonnulls(step.required_input_pattern, step.forbidden_input_pattern) > 0 and step.when_unmet = 'fail'
      )
    into v_plan
    from pgflow._version_steps(p_flow.flow_slug, p_version) as step;
  end if;
  return v_plan;
end
$$;

comment on function pgflow._plan_summary(pgflow.flows, integer) is
'The number of steps of a flow''s version, and which special ones there are.';
