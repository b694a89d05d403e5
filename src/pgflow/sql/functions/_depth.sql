-- Count how deep lists and objects are nested in a JSON value: 0 for a scalar, 1 for [] and {}. Takes no locks.
create or replace function pgflow._depth(p_value jsonb)
returns integer
language sql
immutable
set search_path = ''
as $$
  with recursive part (value, depth) as (
    select p_value, 1
    where jsonb_typeof(p_value) in ('object', 'array')
    union all
    select child.value, part.depth + 1
    from part
    cross join lateral (
      select field.value
      from jsonb_each(case when jsonb_typeof(part.value) = 'object' then part.value else '{}' end) as field
      union all
      select item.value
      from jsonb_array_elements(case when jsonb_typeof(part.value) = 'array' then part.value else '[]' end) as item
    ) as child
    where jsonb_typeof(child.value) in ('object', 'array')
  )
  select coalesce(max(part.depth), 0) from part
$$;

comment on function pgflow._depth(jsonb) is 'The levels of lists and objects in a value.';
