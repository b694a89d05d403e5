-- Name what is wrong with the paths of values that are not to be shown: texts such as "card.number", whose levels are
-- keys or *. Null and JSON null are no paths at all.
create or replace function pgflow._redact_problems(p_paths jsonb)
returns text[]
language plpgsql
immutable
set search_path = ''
as $$
declare
  v_most int := (pgflow._limits() ->> 'max_redact_paths')::int;
begin
  if coalesce(jsonb_typeof(p_paths), 'null') = 'null' then
    return '{}';
  elsif jsonb_typeof(p_paths) <> 'array' then
    return array['The flow: redact must be a list of paths such as "card.number"'];
  elsif jsonb_array_length(p_paths) > v_most then
    return array[format('The flow: redact has %s paths, at most %s are possible', jsonb_array_length(p_paths), v_most)];
  end if;
  return array(
    select format('The flow: redact has %s, which is no path such as "card.number" or "items.*.token"', left(path.value::text, 140))
    from jsonb_array_elements(p_paths) with ordinality as path (value, position)
    where
      jsonb_typeof(path.value) <> 'string'
      or length(path.value #>> '{}') > 500
      or (path.value #>> '{}') !~ '^(\*|[^.*[:cntrl:]]+)(\.(\*|[^.*[:cntrl:]]+)){0,31}$'
    order by path.position
  );
end
$$;

comment on function pgflow._redact_problems(jsonb) is 'What is wrong with a list of paths to redact.';
