-- Define a flow from the shape that a compiler emits, options included.
create or replace function pgflow._create_flow_from_shape(p_flow_slug text, p_shape jsonb)
returns void
language plpgsql
set search_path = ''
as $$
declare
  v_options jsonb := coalesce(p_shape -> 'options', '{}');
  v_step jsonb;
begin
  perform pgflow.create_flow(
    p_flow_slug,
    (v_options ->> 'maxAttempts')::int,
    (v_options ->> 'baseDelay')::int,
    (v_options ->> 'timeout')::int
  );
  for v_step in
    select step.value
    from jsonb_array_elements(p_shape -> 'steps') with ordinality as step (value, position)
    order by step.position
  loop
    v_options := coalesce(v_step -> 'options', '{}');
    perform pgflow.add_step(
      flow_slug => p_flow_slug,
      step_slug => v_step ->> 'slug',
      deps_slugs => pgflow._sorted_texts(v_step -> 'dependencies'),
      max_attempts => (v_options ->> 'maxAttempts')::int,
      base_delay => (v_options ->> 'baseDelay')::int,
      timeout => (v_options ->> 'timeout')::int,
      start_delay => (v_options ->> 'startDelay')::int,
      step_type => coalesce(v_step ->> 'stepType', 'single'),
      required_input_pattern => case
        when (v_step -> 'requiredInputPattern' ->> 'defined')::boolean
          then v_step -> 'requiredInputPattern' -> 'value'
      end,
      forbidden_input_pattern => case
        when (v_step -> 'forbiddenInputPattern' ->> 'defined')::boolean
          then v_step -> 'forbiddenInputPattern' -> 'value'
      end,
      when_unmet => coalesce(v_step ->> 'whenUnmet', 'skip'),
      when_exhausted => coalesce(v_step ->> 'whenExhausted', 'fail')
    );
  end loop;
end
$$;

comment on function pgflow._create_flow_from_shape(text, jsonb) is 'Define a flow and its steps from a compiled shape.';
