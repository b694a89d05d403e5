-- Tell whether a step has the times that its status says, and no others: none before it starts, one of its start while
-- it runs, one end when it is over. Called by _check_steps. Takes no locks.
create or replace function pgflow._has_right_times(p_state pgflow.step_states)
returns boolean
language plpgsql
immutable
set search_path = ''
as $$
begin
  return case
    when p_state.status = 'created' then p_state.started_at is null
    when p_state.status in ('started', 'completed') then p_state.started_at is not null
    else true
  end
  and (p_state.completed_at is not null) = (p_state.status = 'completed')
  and (p_state.failed_at is not null) = (p_state.status = 'failed')
  and (p_state.skipped_at is not null) = (p_state.status = 'skipped');
end
$$;

comment on function pgflow._has_right_times(pgflow.step_states) is 'Whether the times of a step are those of its status.';
