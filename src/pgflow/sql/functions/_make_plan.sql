-- Make and store the plan of a flow's version: its steps with options resolved against the flow's. Plans of revisions
-- that are over go. Another session may store the same plan at the same time, which changes nothing.
create or replace function pgflow._make_plan(p_flow_slug text, p_version integer)
returns pgflow.plan
language plpgsql
set search_path = ''
as $$
declare
  v_flow pgflow.flows;
  v_version int;
  v_plan pgflow.plan;
begin
  select * into v_flow from pgflow.flows as flow where flow.flow_slug = p_flow_slug;
  if not found then
    return null;
  end if;
  v_version := coalesce(p_version, v_flow.version);
  v_plan.steps := pgflow._resolved_steps(v_flow, v_version);
  v_plan.summary := (
    select (
      p_flow_slug, v_version, v_flow.revision, count(*),
      coalesce(bool_or(step.step_type = 'map'), false),
      coalesce(bool_or(step.step_type = 'map' and step.deps = '{}' and not step.fixed_size), false),
      coalesce(bool_or(num_nonnulls(step.required_input_pattern, step.forbidden_input_pattern) > 0), false),
      coalesce(bool_or(
        num_nonnulls(step.required_input_pattern, step.forbidden_input_pattern) > 0 and step.when_unmet = 'fail'
      ), false)
    )::pgflow.flow_plans
    from unnest(v_plan.steps) as step
  );
  delete from pgflow.flow_plans as plan
  where plan.flow_slug = p_flow_slug and plan.revision < v_flow.revision;
  insert into pgflow.flow_plans select (v_plan.summary).* on conflict do nothing;
  if found then
    insert into pgflow.planned_steps select step.* from unnest(v_plan.steps) as step;
  end if;
  return v_plan;
end
$$;

comment on function pgflow._make_plan(text, integer) is 'Make, store and return the plan of a version of a flow.';
