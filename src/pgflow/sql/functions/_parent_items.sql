-- Read what a map goes over from its parent step: the array that it gave, or for a parent whose outputs are kept in its
-- tasks the outputs from p_first up to p_end (exclusively).
create or replace function pgflow._parent_items(p_run_id uuid, p_parent text, p_first integer, p_end integer)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
  v_parent pgflow.step_states;
begin
  select state.* into v_parent from pgflow.step_states as state
  where state.run_id = p_run_id and state.step_slug = p_parent;
  if v_parent.step_type = 'single' or v_parent.output is not null then
    return v_parent.output;
  end if;
  return (
    select coalesce(jsonb_agg(output.output order by output.task_index), '[]')
    from pgflow.step_output(p_run_id, p_parent, p_first - 1, p_end - p_first) as output
  );
end
$$;

comment on function pgflow._parent_items(uuid, text, integer, integer) is
'The array that a map goes over, or the part that it needs.';
