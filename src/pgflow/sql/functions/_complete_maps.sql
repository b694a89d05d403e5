-- Complete the maps among some steps that have no task left: their outputs are put together, if they are not too large.
-- Returns all the steps given, in order. Called under the runs' locks. Locks: the maps' rows.
create or replace function pgflow._complete_maps(p_steps pgflow.step_states[])
returns pgflow.step_states[]
language plpgsql
set search_path = ''
as $$
declare
  v_steps pgflow.step_states[] := p_steps;
  v_step pgflow.step_states;
begin
  for v_index in 1 .. cardinality(p_steps) loop
    if p_steps[v_index].status = 'started' then
      update pgflow.step_states as state
      set
        status = 'completed', completed_at = greatest(now(), state.started_at),
        output = pgflow._step_output(state)
      where state.run_id = p_steps[v_index].run_id and state.step_slug = p_steps[v_index].step_slug
      returning state.* into v_step;
      v_steps[v_index] := v_step;
    end if;
  end loop;
  return v_steps;
end
$$;

comment on function pgflow._complete_maps(pgflow.step_states[]) is 'Complete maps that have no task left.';
