-- Store what a flow is now as a version, unless it is known: it may have been built step by step, or got a step added.
-- Returns the hash of its shape, null for a flow without steps. The handlers that a plan names stand in its version only,
-- so they are taken from there. Called under the lock of define_flow.
create or replace function pgflow._adopt_definition(p_flow pgflow.flows)
returns text
language plpgsql
set search_path = ''
as $$
declare
  v_definition jsonb;
begin
  with planned as materialized (
    select step.value ->> 'slug' as step_slug, step.value -> 'handler' as handler
    from pgflow.flow_versions as known
    cross join lateral jsonb_array_elements(known.definition -> 'steps') as step (value)
    where
      known.flow_slug = p_flow.flow_slug and known.version = p_flow.version
      and jsonb_typeof(step.value -> 'handler') = 'object'
  )
  select jsonb_build_object('steps', jsonb_agg(
    jsonb_strip_nulls(jsonb_build_object(
      'slug', step.step_slug, 'step_type', step.step_type,
      'depends_on', to_jsonb(pgflow._dependencies(p_flow.flow_slug, step.step_slug)),
      'max_attempts', step.opt_max_attempts, 'base_delay', step.opt_base_delay, 'timeout', step.opt_timeout,
      'start_delay', step.opt_start_delay, 'max_delay', step.opt_max_delay, 'jitter', step.opt_jitter,
      'queue', step.opt_queue, 'initial_tasks', step.opt_initial_tasks,
      'max_failed_tasks', step.opt_max_failed_tasks, 'max_failed_percent', step.opt_max_failed_percent,
      'batch_size', step.opt_batch_size,
      'when_unmet', step.when_unmet, 'when_exhausted', step.when_exhausted
    )) || jsonb_build_object(
      'required_input_pattern', step.required_input_pattern,
      'forbidden_input_pattern', step.forbidden_input_pattern
    ) || case when planned.handler is null then '{}' else jsonb_build_object('handler', planned.handler) end
    order by step.step_index
  ))
  into v_definition
  from pgflow.steps as step
  left join planned on step.step_slug = planned.step_slug
  where step.flow_slug = p_flow.flow_slug;
  if jsonb_typeof(v_definition -> 'steps') <> 'array' then
    return null;
  end if;
  insert into pgflow.flow_versions (flow_slug, version, shape_hash, definition)
  select
    p_flow.flow_slug,
    case
      when bool_or(known.version = p_flow.version) then max(known.version) + 1 else p_flow.version
    end,
    pgflow._definition_hash(v_definition), v_definition
  from pgflow.flow_versions as known
  where known.flow_slug = p_flow.flow_slug
  on conflict on constraint flow_versions_flow_slug_shape_hash_key do nothing;
  return pgflow._definition_hash(v_definition);
end
$$;

comment on function pgflow._adopt_definition(pgflow.flows) is 'Store the present steps of a flow as a version of it.';
