-- Describe the structure of a flow as stored: what must agree between code and database. Options are left out.
create or replace function pgflow._get_flow_shape(p_flow_slug text)
returns jsonb
language sql
stable
set search_path = ''
as $$
  select jsonb_build_object('steps', coalesce(
    jsonb_agg(
      jsonb_build_object(
        'slug', step.step_slug,
        'stepType', step.step_type,
        'dependencies', to_jsonb(pgflow._dependencies(p_flow_slug, step.step_slug)),
        'whenUnmet', step.when_unmet,
        'whenExhausted', step.when_exhausted,
        'requiredInputPattern', case
          when step.required_input_pattern is null then '{"defined": false}'
          else jsonb_build_object('defined', true, 'value', step.required_input_pattern)
        end,
        'forbiddenInputPattern', case
          when step.forbidden_input_pattern is null then '{"defined": false}'
          else jsonb_build_object('defined', true, 'value', step.forbidden_input_pattern)
        end
      )
      order by step.step_index
    ),
    '[]'
  ))
  from pgflow.steps as step
  where step.flow_slug = p_flow_slug
$$;

comment on function pgflow._get_flow_shape(text) is 'The structure of a flow as one JSON object with its steps in order.';
