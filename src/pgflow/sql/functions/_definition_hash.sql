-- Hash the shape of a definition: steps in order with type, dependencies, conditions, modes, queue and fixed size.
-- Other options are no part of it, so they can change without a new version. A step of a plan names its handler and what
-- that is given, which is hashed as well: a worker learns it from the version that a run is pinned to.
create or replace function pgflow._definition_hash(p_definition jsonb)
returns text
language sql
immutable
set search_path = ''
as $$
  select md5(coalesce(
    jsonb_agg(
      jsonb_build_array(
        step.value -> 'slug',
        coalesce(step.value ->> 'step_type', 'single'),
        pgflow._sorted_texts(step.value -> 'depends_on'),
        nullif(step.value -> 'required_input_pattern', 'null'),
        nullif(step.value -> 'forbidden_input_pattern', 'null'),
        coalesce(step.value ->> 'when_unmet', 'skip'),
        coalesce(step.value ->> 'when_exhausted', 'fail'),
        step.value ->> 'queue',
        step.value ->> 'initial_tasks'
      ) || case when jsonb_typeof(step.value -> 'handler') = 'object' then jsonb_build_array(step.value -> 'handler') else '[]' end
      order by step.position
    ), '[]'
  )::text)
  from jsonb_array_elements(p_definition -> 'steps') with ordinality as step (value, position)
$$;

comment on function pgflow._definition_hash(jsonb) is 'The hash of a definition''s shape.';
