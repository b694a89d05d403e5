-- Describe a task that was granted as it was created, as a worker gets it: the first attempt of a step that has
-- parents.
create or replace function pgflow._fresh_grant(
  p_step pgflow.step_states, p_task_index integer, p_input jsonb, p_items integer, p_msg_id bigint, p_queue_name text
)
returns pgflow.granted_task
language plpgsql
stable
set search_path = ''
as $$
declare
  v_parents pgflow.parent_outputs := (p_input, '{}');
begin
  if p_input is null then
    v_parents := pgflow._parent_outputs(p_step.run_id, p_step.deps);
  end if;
  return (
    p_step.flow_slug, p_step.run_id, p_step.step_slug, p_task_index, p_step.last_fence + 1, v_parents.outputs, null::jsonb,
    p_msg_id, p_queue_name, p_step.step_type, 1, greatest(p_step.max_attempts, 1), p_step.timeout, false, v_parents.deferred,
    p_items, false
  )::pgflow.granted_task;
end
$$;

comment on function pgflow._fresh_grant(pgflow.step_states, integer, jsonb, integer, bigint, text) is
'A task as its worker gets it that was granted by its creation.';
