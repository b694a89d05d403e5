-- Resolve the steps of a flow's version, by one statement so that they fit together: the current one from its tables,
-- an older one from the stored definition. Options that a step leaves open are the flow's.
create or replace function pgflow._resolved_steps(p_flow pgflow.flows, p_version integer)
returns pgflow.planned_steps[]
language plpgsql
set search_path = ''
set enable_nestloop = off
set enable_hashjoin = on
as $$
declare
  v_steps pgflow.step_states[] := case
    when p_version = p_flow.version then pgflow._current_steps(p_flow.flow_slug)
    else array(select step from pgflow._version_steps(p_flow.flow_slug, p_version) as step)
  end;
begin
  return (
    with followers as materialized (
      select
        parent, array_agg(step.step_slug order by step.step_index) as slugs, bool_or(step.step_type = 'map') as feeds_map
      from unnest(v_steps) as step
      cross join lateral unnest(step.deps) as parent
      group by parent
    )
    select array_agg(
      (
        p_flow.flow_slug, p_version, p_flow.revision, step.step_index, step.step_slug, step.step_type,
        case when step.step_type = 'single' then 1 when step.deps = '{}' then step.initial_tasks end,
        step.deps, coalesce(followers.slugs, '{}'),
        coalesce(followers.feeds_map and step.step_type = 'single', false),
        step.step_type = 'map' and step.deps = '{}' and step.initial_tasks is not null,
        coalesce(step.queue_name, p_flow.queue_name, p_flow.flow_slug),
        coalesce(step.max_attempts, p_flow.opt_max_attempts), coalesce(step.base_delay, p_flow.opt_base_delay),
        coalesce(step.max_delay, p_flow.opt_max_delay), coalesce(step.jitter, p_flow.opt_jitter),
        coalesce(step.timeout, p_flow.opt_timeout), step.start_delay, step.max_failed_tasks, step.max_failed_percent,
        step.required_input_pattern, step.forbidden_input_pattern, step.when_unmet, step.when_exhausted, step.batch_size
      )::pgflow.planned_steps
      order by step.step_index
    )
    from unnest(v_steps) as step
    left join followers on step.step_slug = followers.parent
  );
end
$$;

comment on function pgflow._resolved_steps(pgflow.flows, integer) is
'The steps of a version of a flow, with their children and with options resolved.';
