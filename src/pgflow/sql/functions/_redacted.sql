-- Return a value without what stands at the paths given: "[redacted]" in its place. A path may begin at any depth, so it
-- holds for a value wherever it is passed on to: as the input of a child, as an element of a map, in the run's output.
-- Its levels are keys, or * for any key or element; a path that begins with * also means the value after it alone.
-- p_open holds the rests of paths that have begun above. Null paths, the common case, cost one comparison.
create or replace function pgflow._redacted(p_value jsonb, p_paths text[], p_open text[] default '{}')
returns jsonb
language plpgsql
immutable
set search_path = ''
as $$
declare
  v_paths text[];
begin
  if p_paths is null or p_value is null then
    return p_value;
  end if;
  v_paths := array(select regexp_replace(path, '^(\*\.)+', '') from unnest(p_paths) as path);
  if '*' = any(v_paths) then
    return '"[redacted]"';
  elsif jsonb_typeof(p_value) = 'object' then
    return (
      select coalesce(jsonb_object_agg(field.name, case
        when field.name = any(v_paths || p_open) or '*' = any(p_open) then '"[redacted]"'
        else pgflow._redacted(field.value, v_paths, array(
          select substr(path, strpos(path, '.') + 1) from unnest(v_paths || p_open) as path
          where strpos(path, '.') > 0 and split_part(path, '.', 1) in (field.name, '*')
        ))
      end), '{}')
      from jsonb_each(p_value) as field (name, value)
    );
  elsif jsonb_typeof(p_value) = 'array' then
    return (
      select coalesce(jsonb_agg(case
        when '*' = any(p_open) then '"[redacted]"'
        else pgflow._redacted(item.value, v_paths, array(
          select substr(path, strpos(path, '.') + 1) from unnest(p_open) as path where path like '*.%'
        ))
      end order by item.position), '[]')
      from jsonb_array_elements(p_value) with ordinality as item (value, position)
    );
  end if;
  return p_value;
end
$$;

comment on function pgflow._redacted(jsonb, text[], text[]) is 'A value with "[redacted]" at the given paths.';
