-- Make the plan of a flow's version: its steps with options resolved against the flow's. The flow and its steps are read
-- one after the other, and again if a definition was committed in between. The plan is stored, and plans of revisions
-- that are over go, unless another session is just doing that: its transaction may take long, and nobody waits for it.
-- Locks: an advisory one on the slug, if it is free; then the flow's row (shared) before its old plans.
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
  loop
    select * into v_flow from pgflow.flows as flow where flow.flow_slug = p_flow_slug;
    if not found then
      return null;
    end if;
    v_version := coalesce(p_version, v_flow.version);
    v_plan.steps := pgflow._resolved_steps(v_flow, v_version);
    exit when exists (
      select 1 from pgflow.flows as flow where flow.flow_slug = p_flow_slug and flow.revision = v_flow.revision
    );
  end loop;
  v_plan.summary := (
    select (
      p_flow_slug, v_version, v_flow.revision, count(*),
      coalesce(bool_or(step.step_type = 'map'), false),
      coalesce(bool_or(step.step_type = 'map' and step.deps = '{}' and not step.fixed_size), false),
      coalesce(bool_or(num_nonnulls(step.required_input_pattern, step.forbidden_input_pattern) > 0), false),
      coalesce(bool_or(
        num_nonnulls(step.required_input_pattern, step.forbidden_input_pattern) > 0 and step.when_unmet = 'fail'
      ), false),
      v_flow.redact, v_flow.opt_max_items
    )::pgflow.flow_plans
    from unnest(v_plan.steps) as step
  );
  if not pg_try_advisory_xact_lock(hashtextextended('pgflow.plan ' || p_flow_slug, 0)) then
    return v_plan;
  end if;
  insert into pgflow.flow_plans select (v_plan.summary).* on conflict do nothing;
  if found then
    insert into pgflow.planned_steps select step.* from unnest(v_plan.steps) as step;
  end if;
  delete from pgflow.flow_plans as plan
  where plan.flow_slug = p_flow_slug and plan.revision < v_flow.revision;
  return v_plan;
end
$$;

comment on function pgflow._make_plan(text, integer) is 'Make, store and return the plan of a version of a flow.';
