-- Turn a JSON array of texts into a sorted array; anything else is taken as empty.
create or replace function pgflow._sorted_texts(p_array jsonb)
returns text[]
language sql
immutable
set search_path = ''
as $$
  select array(
    select element
    from jsonb_array_elements_text(
      case when jsonb_typeof(p_array) = 'array' then p_array else '[]' end
    ) as element
    order by element collate "C"
  )
$$;

comment on function pgflow._sorted_texts(jsonb) is 'The texts of a JSON array, sorted.';
