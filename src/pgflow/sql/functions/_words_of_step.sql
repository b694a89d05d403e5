-- Say what is wrong with a step that breaks an invariant, and what mends it; null for a counter, which is told by its
-- numbers. Called by _check_steps. Takes no locks.
create or replace function pgflow._words_of_step(
  p_invariant text, p_state pgflow.step_states, p_items bigint, p_last_item bigint, p_created bigint, p_open_parents bigint,
  out detail text, out mend text
)
language plpgsql
stable
set search_path = ''
as $$
begin
  case p_invariant
    when 'missing_tasks' then
      detail := format('Tasks carry %s items, the last is number %s, where %s should be.', p_items, p_last_item, p_created);
      mend := 'Task rows are missing or too many: restore them, or cancel the run and start it anew.';
    when 'paused_map' then
      detail := 'The map is live, but the creation of its tasks is paused.';
      mend := format(
        'update pgflow.fan_outs set paused = false where run_id = %L and step_slug = %L;', p_state.run_id, p_state.step_slug
      );
    when 'step_before_parents' then
      detail := format('The step is %s, but %s of its parents are not over.', p_state.status, p_open_parents);
      mend := 'Somebody has changed the steps by hand: cancel the run and start it anew.';
    when 'step_not_started' then
      detail := 'The step waits for nothing, but has not started.';
      mend := format(
        'select pgflow.cascade_resolve_conditions(%1$L); select pgflow.start_ready_steps(%1$L);', p_state.run_id
      );
    when 'step_times' then
      detail := format('The step is %s, and its times say otherwise.', p_state.status);
      mend := 'Somebody has changed the step by hand: set its times to what its status says.';
    else
      null;
  end case;
end
$$;

comment on function pgflow._words_of_step(text, pgflow.step_states, bigint, bigint, bigint, bigint) is
'What is wrong with a step, and its mend.';
