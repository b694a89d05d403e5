-- Describe the start or the completion of a step as an event.
create or replace function pgflow._step_event(p_step pgflow.step_states)
returns pgflow.event
language plpgsql
immutable
set search_path = ''
as $$
begin
  if p_step.status = 'completed' then
    return (
      'step:' || p_step.step_slug || ':completed',
      jsonb_build_object(
        'event_type', 'step:completed', 'run_id', p_step.run_id, 'flow_slug', p_step.flow_slug,
        'step_slug', p_step.step_slug, 'status', 'completed', 'completed_at', p_step.completed_at
      ),
      'output', pgflow._redacted_output(p_step.step_slug, p_step.output, p_step.redact)
    )::pgflow.event;
  end if;
  return (
    'step:' || p_step.step_slug || ':started',
    jsonb_build_object(
      'event_type', 'step:started', 'run_id', p_step.run_id, 'flow_slug', p_step.flow_slug,
      'step_slug', p_step.step_slug, 'status', 'started', 'started_at', p_step.started_at,
      'remaining_tasks', p_step.remaining_tasks, 'remaining_deps', p_step.remaining_deps
    ),
    null, null
  )::pgflow.event;
end
$$;

comment on function pgflow._step_event(pgflow.step_states) is 'The event of a step that has started or completed.';
