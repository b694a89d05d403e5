-- Read the steps of a stored version of a flow as the rows of step_states that a run of it starts from; columns that
-- a definition does not settle are left null. Raises for a version that does not exist.
create or replace function pgflow._version_steps(p_flow_slug text, p_version integer)
returns setof pgflow.step_states
language plpgsql
stable
set search_path = ''
as $$
declare
  v_definition jsonb;
begin
  select flow_version.definition into v_definition from pgflow.flow_versions as flow_version
  where flow_version.flow_slug = p_flow_slug and flow_version.version = p_version;
  if not found then
    raise exception 'Flow "%" has no version %', p_flow_slug, p_version
      using errcode = 'no_data_found', hint = 'pgflow.flow_versions lists the versions of a flow.';
  end if;
  return query
  select (jsonb_populate_record(null::pgflow.step_states, known.options || jsonb_build_object(
    'flow_slug', p_flow_slug,
    'step_slug', step.value ->> 'slug',
    'step_index', step.position - 1,
    'deps', to_jsonb(pgflow._sorted_texts(step.value -> 'depends_on')),
    'remaining_deps', jsonb_array_length(coalesce(step.value -> 'depends_on', '[]')),
    'step_type', coalesce(step.value ->> 'step_type', 'single'),
    'queue_name', step.value ->> 'queue',
    'when_unmet', coalesce(step.value ->> 'when_unmet', 'skip'),
    'when_exhausted', coalesce(step.value ->> 'when_exhausted', 'fail')
  ))).*
  from jsonb_array_elements(v_definition -> 'steps') with ordinality as step (value, position)
  cross join lateral (
    select coalesce(jsonb_object_agg(field.name, field.value), '{}') as options
    from jsonb_each(step.value) as field (name, value)
    where field.name in (
      'max_attempts', 'base_delay', 'timeout', 'start_delay', 'max_delay', 'jitter', 'initial_tasks', 'max_failed_tasks',
      'max_failed_percent', 'batch_size', 'required_input_pattern', 'forbidden_input_pattern'
    )
  ) as known
  order by step.position;
end
$$;

comment on function pgflow._version_steps(text, integer) is 'The steps of one stored version of a flow.';
