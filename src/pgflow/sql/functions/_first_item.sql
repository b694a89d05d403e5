-- Make of a granted batch the grant of its first item.
create or replace function pgflow._first_item(p_granted pgflow.granted_task)
returns pgflow.granted_task
language plpgsql
immutable
set search_path = ''
as $$
begin
  p_granted.input := p_granted.input -> 0;
  p_granted.items := null;
  return p_granted;
end
$$;

comment on function pgflow._first_item(pgflow.granted_task) is 'The first item of a batch, as granted.';
