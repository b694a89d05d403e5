-- Name what is wrong with the fields of one step of a definition that are no numbers.
create or replace function pgflow._step_field_problems(p_step jsonb)
returns setof text
language plpgsql
immutable
rows 1
set search_path = ''
as $$
declare
  v_name text;
begin
  if coalesce(jsonb_typeof(p_step -> 'slug'), 'null') <> 'string' or not pgflow.is_valid_slug(p_step ->> 'slug') then
    return next 'its slug must be letters, digits and _, not starting with a digit, at most 128 characters, and not "run"';
  end if;
  if coalesce(nullif(p_step -> 'step_type', 'null'), '"single"') not in ('"single"', '"map"') then
    return next 'step_type must be single or map';
  end if;
  foreach v_name in array array['when_unmet', 'when_exhausted'] loop
    if coalesce(nullif(p_step -> v_name, 'null'), '"fail"') not in ('"fail"', '"skip"', '"skip-cascade"') then
      return next format('%s must be fail, skip or skip-cascade', v_name);
    end if;
  end loop;
  foreach v_name in array array['required_input_pattern', 'forbidden_input_pattern'] loop
    if coalesce(jsonb_typeof(p_step -> v_name), 'null') not in ('object', 'null') then
      return next format('%s must be an object', v_name);
    end if;
  end loop;
  if coalesce(jsonb_typeof(p_step -> 'queue'), 'null') not in ('string', 'null')
    or not pgflow.is_valid_slug(coalesce(p_step ->> 'queue', 'a')) or length(p_step ->> 'queue') > 47 then
    return next 'queue must be letters, digits and _, not starting with a digit, at most 47 characters, and not "run"';
  end if;
  if coalesce(jsonb_typeof(p_step -> 'depends_on'), 'null') not in ('array', 'null') then
    return next 'depends_on must be a list of slugs';
  elsif jsonb_path_exists(p_step, '$.depends_on[*] ? (@.type() != "string")') then
    return next 'depends_on must be a list of slugs';
  end if;
end
$$;

comment on function pgflow._step_field_problems(jsonb) is 'What is wrong with a step''s slug, words, patterns, dependencies.';
