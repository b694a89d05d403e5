-- Fail a step and with it the run: states, events, and no live message is left of the run. Called under the run's
-- exclusive lock. Locks: the step's row and the messages.
create or replace function pgflow._fail_step(
  p_run_id uuid, p_step_slug text, p_error_message text, p_run_error_message text default null
)
returns void
language plpgsql
set search_path = ''
as $$
declare
  v_state pgflow.step_states;
  v_run pgflow.runs;
begin
  update pgflow.step_states as state
  set
    status = 'failed', failed_at = greatest(now(), state.started_at, state.created_at),
    error_message = p_error_message
  where state.run_id = p_run_id and state.step_slug = p_step_slug
  returning state.* into v_state;
  update pgflow.runs as run
  set
    status = 'failed', failed_at = greatest(now(), run.started_at),
    error_message = coalesce(p_run_error_message, p_error_message)
  where run.run_id = p_run_id
  returning run.* into v_run;
  perform pgflow._emit(
    p_run_id, 'step:' || p_step_slug || ':failed',
    jsonb_build_object(
      'event_type', 'step:failed', 'run_id', p_run_id, 'flow_slug', v_state.flow_slug, 'step_slug', p_step_slug,
      'status', 'failed', 'error_message', p_error_message, 'failed_at', v_state.failed_at
    )
  );
  perform pgflow._emit(
    p_run_id, 'run:failed',
    jsonb_build_object(
      'event_type', 'run:failed', 'run_id', p_run_id, 'flow_slug', v_run.flow_slug,
      'status', 'failed', 'error_message', v_run.error_message, 'failed_at', v_run.failed_at
    )
  );
  perform pgflow._archive_messages(p_run_id);
end
$$;

comment on function pgflow._fail_step(uuid, text, text, text) is
'Fail a step and its run, send both events, archive every live message of the run.';
