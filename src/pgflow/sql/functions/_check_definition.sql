-- Refuse a definition that is no object with a list of steps, that goes beyond the limits, or that the tables could not
-- take: one error names every problem, so that whoever wrote it mends them at once. What is far too large is refused
-- before anybody looks inside.
create or replace function pgflow._check_definition(p_flow_slug text, p_definition jsonb)
returns void
language plpgsql
immutable
set search_path = ''
as $$
declare
  v_limits jsonb := pgflow._limits();
  v_options jsonb := coalesce(p_definition -> 'options', 'null');
  v_steps jsonb := p_definition -> 'steps';
  v_problems text[];
  v_slug text := left(p_flow_slug, 140);
begin
  if coalesce(jsonb_typeof(v_steps), 'null') <> 'array' then
    raise exception 'The definition of flow "%" is not an object with a list of "steps"', v_slug
      using errcode = 'invalid_parameter_value',
      hint = 'A definition looks like {"options": {}, "steps": [{"slug": "a"}, {"slug": "b", "depends_on": ["a"]}]}.';
  elsif jsonb_array_length(v_steps) > (v_limits ->> 'max_steps')::int then
    raise exception 'Flow "%" has % steps, at most % are possible', v_slug, jsonb_array_length(v_steps), v_limits ->> 'max_steps'
      using errcode = 'program_limit_exceeded', hint = 'Split it into several flows.';
  elsif pg_column_size(p_definition) > (v_limits ->> 'max_definition_bytes')::int then
    raise exception 'The definition of flow "%" takes % bytes, at most % are possible',
      v_slug, pg_column_size(p_definition), v_limits ->> 'max_definition_bytes'
      using errcode = 'program_limit_exceeded', hint = 'Split it into several flows.';
  end if;
  v_problems := pgflow._form_problems(v_options, v_steps) || pgflow._redact_problems(v_options -> 'redact')
    || pgflow._limit_problems(v_options, v_steps);
  v_problems := v_problems || pgflow._dependency_problems(v_steps);
  if v_problems <> '{}' then
    raise exception 'The definition of flow "%" is not sound: %',
      v_slug, left(array_to_string(v_problems[:100], E'\n'), 20000)
      using errcode = 'invalid_parameter_value', hint = 'Put every step after those it depends on, each named once.';
  end if;
end
$$;

comment on function pgflow._check_definition(text, jsonb) is 'Raise one error that lists every problem of a definition.';
