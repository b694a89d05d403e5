-- Read the plan of a flow's version, the current one by default, and make it first if this revision of the flow has
-- none yet. One statement reads flow, plan and steps, so they belong together whoever changes the flow meanwhile. Null
-- for a flow that does not exist; raises for a version that does not.
create or replace function pgflow._plan(p_flow_slug text, p_version integer)
returns pgflow.plan
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
  v_plan pgflow.plan;
begin
  select
    plan,
    array(
      select step from pgflow.planned_steps as step
      where step.flow_slug = p_flow_slug and step.version = plan.version and step.revision = plan.revision
      order by step.step_index
    )
  into v_plan.summary, v_plan.steps
  from pgflow.flows as flow
  inner join pgflow.flow_plans as plan
    on
      flow.flow_slug = plan.flow_slug
      and coalesce(p_version, flow.version) = plan.version
      and flow.revision = plan.revision
  where flow.flow_slug = p_flow_slug;
  if not found then
    v_plan := pgflow._make_plan(p_flow_slug, p_version);
  end if;
  return v_plan;
end
$$;

comment on function pgflow._plan(text, integer) is 'The stored plan of a version of a flow.';
