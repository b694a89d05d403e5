-- Read the steps of a flow's current version as the rows of step_states that a run starts from, like _version_steps.
create or replace function pgflow._current_steps(p_flow_slug text)
returns pgflow.step_states[]
language plpgsql
stable
set search_path = ''
set enable_nestloop = off
set enable_hashjoin = on
as $$
begin
  return (
    select array_agg(jsonb_populate_record(null::pgflow.step_states, to_jsonb(step)) order by step.step_index)
    from (
      select
        p_flow_slug as flow_slug, known.step_slug, known.step_index, known.step_type,
        coalesce(dep.slugs, '{}') as deps, known.opt_queue as queue_name, known.opt_initial_tasks as initial_tasks,
        known.opt_max_attempts as max_attempts, known.opt_base_delay as base_delay, known.opt_max_delay as max_delay,
        known.opt_jitter as jitter, known.opt_timeout as timeout, known.opt_start_delay as start_delay,
        known.opt_max_failed_tasks as max_failed_tasks, known.opt_max_failed_percent as max_failed_percent,
        known.required_input_pattern, known.forbidden_input_pattern, known.when_unmet, known.when_exhausted,
        known.opt_batch_size as batch_size
      from pgflow.steps as known
      left join (
        select dep.step_slug, array_agg(dep.dep_slug order by dep.dep_slug collate "C") as slugs
        from pgflow.deps as dep
        where dep.flow_slug = p_flow_slug
        group by dep.step_slug
      ) as dep on known.step_slug = dep.step_slug
      where known.flow_slug = p_flow_slug
    ) as step
  );
end
$$;

comment on function pgflow._current_steps(text) is 'The steps of the current version of a flow.';
