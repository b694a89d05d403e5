-- Describe the start or the completion of a run as an event.
create or replace function pgflow._run_event(p_run pgflow.runs)
returns pgflow.event
language plpgsql
immutable
set search_path = ''
as $$
begin
  if p_run.status = 'completed' then
    return (
      'run:completed',
      jsonb_build_object(
        'event_type', 'run:completed', 'run_id', p_run.run_id, 'flow_slug', p_run.flow_slug,
        'status', 'completed', 'completed_at', p_run.completed_at
      ),
      'output', pgflow._redacted(p_run.output, p_run.redact)
    )::pgflow.event;
  end if;
  return (
    'run:started',
    jsonb_build_object(
      'event_type', 'run:started', 'run_id', p_run.run_id, 'flow_slug', p_run.flow_slug, 'status', 'started',
      'remaining_steps', p_run.remaining_steps, 'started_at', p_run.started_at
    ),
    'input', pgflow._redacted(p_run.input, p_run.redact)
  )::pgflow.event;
end
$$;

comment on function pgflow._run_event(pgflow.runs) is 'The event of a run that has started or completed.';
