-- A map with more tasks than this is created in slices, while its first tasks run already.
create or replace function pgflow._max_slice()
returns integer
language plpgsql
immutable
parallel safe
set search_path = ''
as $$
begin
  return 20000;
end
$$;

comment on function pgflow._max_slice() is 'The largest number of tasks of one step that are created at once.';
