-- Give a new run its steps: the plan of the flow's current version, or of the stored version that the run is pinned
-- to, with options resolved against the flow's. The run reads no definition after this.
create or replace function pgflow._create_step_states(p_run pgflow.runs, p_flow pgflow.flows)
returns void
language plpgsql
set search_path = ''
set enable_nestloop = off
set enable_hashjoin = on
as $$
declare
  v_elements int;
begin
  if jsonb_typeof(p_run.input) = 'array' then
    v_elements := jsonb_array_length(p_run.input);
  end if;
  with planned as materialized (
    select
      step.step_slug, step.step_index, step.step_type, step.deps_count,
      coalesce(dep.slugs, '{}') as deps, step.opt_queue as queue_name, step.opt_initial_tasks as initial_tasks,
      step.opt_max_attempts as max_attempts, step.opt_base_delay as base_delay, step.opt_max_delay as max_delay,
      step.opt_jitter as jitter, step.opt_timeout as timeout, step.opt_start_delay as start_delay,
      step.opt_max_failed_tasks as max_failed_tasks, step.opt_max_failed_percent as max_failed_percent,
      step.required_input_pattern, step.forbidden_input_pattern, step.when_unmet, step.when_exhausted,
      step.opt_batch_size as batch_size
    from pgflow.steps as step
    left join (
      select dep.step_slug, array_agg(dep.dep_slug order by dep.dep_slug collate "C") as slugs
      from pgflow.deps as dep
      where dep.flow_slug = p_flow.flow_slug
      group by dep.step_slug
    ) as dep on step.step_slug = dep.step_slug
    where step.flow_slug = p_flow.flow_slug and p_run.flow_version = p_flow.version
    union all
    select
      step.step_slug, step.step_index, step.step_type, step.remaining_deps,
      step.deps, step.queue_name, step.initial_tasks,
      step.max_attempts, step.base_delay, step.max_delay,
      step.jitter, step.timeout, step.start_delay,
      step.max_failed_tasks, step.max_failed_percent,
      step.required_input_pattern, step.forbidden_input_pattern, step.when_unmet, step.when_exhausted,
      step.batch_size
    from (select 1 where p_run.flow_version <> p_flow.version) as other
    cross join lateral pgflow._version_steps(p_run.flow_slug, p_run.flow_version) as step
  ),
  followers as materialized (
    select
      parent, array_agg(step.step_slug order by step.step_index) as slugs, bool_or(step.step_type = 'map') as feeds_map
    from planned as step
    cross join lateral unnest(step.deps) as parent
    group by parent
  )
  insert into pgflow.step_states (
    flow_slug, run_id, step_slug, remaining_deps, initial_tasks, step_index, step_type, deps, children, feeds_map,
    fixed_size, queue_name, max_attempts, base_delay, max_delay, jitter, timeout, start_delay, max_failed_tasks,
    max_failed_percent, required_input_pattern, forbidden_input_pattern, when_unmet, when_exhausted,
    batch_size
  )
  select
    p_run.flow_slug, p_run.run_id, step.step_slug, step.deps_count,
    case
      when step.step_type = 'single' then 1
      when step.deps_count > 0 then null
      when step.initial_tasks is not null then step.initial_tasks
      else v_elements
    end,
    step.step_index, step.step_type, step.deps, coalesce(followers.slugs, '{}'),
    coalesce(followers.feeds_map and step.step_type = 'single', false),
    step.step_type = 'map' and step.deps_count = 0 and step.initial_tasks is not null,
    coalesce(step.queue_name, p_flow.queue_name, p_run.flow_slug),
    coalesce(step.max_attempts, p_flow.opt_max_attempts), coalesce(step.base_delay, p_flow.opt_base_delay),
    coalesce(step.max_delay, p_flow.opt_max_delay), coalesce(step.jitter, p_flow.opt_jitter),
    coalesce(step.timeout, p_flow.opt_timeout), step.start_delay, step.max_failed_tasks, step.max_failed_percent,
    step.required_input_pattern, step.forbidden_input_pattern, step.when_unmet, step.when_exhausted,
    step.batch_size
  from planned as step
  left join followers on step.step_slug = followers.parent;
end
$$;

comment on function pgflow._create_step_states(pgflow.runs, pgflow.flows) is
'Insert the states of a new run''s steps, each with its plan.';
