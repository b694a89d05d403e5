-- Say up to which item (exclusively) tasks of a step are created in one go, from a given one on. Maps up to
-- _max_slice() tasks are created whole; larger ones begin with a small slice, so that work starts at once, and each
-- doubles what is there, up to half that limit.
create or replace function pgflow._slice_end(p_step pgflow.step_states, p_first integer)
returns integer
language plpgsql
immutable
set search_path = ''
as $$
declare
  v_batch int := coalesce(p_step.batch_size, 1);
begin
  if p_first = 0 and p_step.initial_tasks <= pgflow._max_slice() * v_batch then
    return p_step.initial_tasks;
  end if;
  return least(
    p_first + v_batch * least(greatest(p_first / v_batch, 1000), pgflow._max_slice() / 2), p_step.initial_tasks
  );
end
$$;

comment on function pgflow._slice_end(pgflow.step_states, integer) is
'The end of the slice of a step''s items that begins somewhere.';
