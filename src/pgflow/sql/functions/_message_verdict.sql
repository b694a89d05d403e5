-- Judge a message by the task that it names: which invariant it breaks, or null. The names are those of
-- _settle_messages' verdicts, in more detail. Called by _check_messages. Takes no locks.
create or replace function pgflow._message_verdict(
  p_run pgflow.runs, p_state pgflow.step_states, p_task pgflow.step_tasks, p_msg_id bigint, p_vt timestamptz
)
returns text
language plpgsql
stable
set search_path = ''
as $$
begin
  return case
    when p_task.run_id is null then 'message_without_task'
    when p_run.status <> 'started' then 'message_of_finished_run'
    when
      p_task.status in ('completed', 'failed') or p_task.permanently_stalled_at is not null or p_state.status <> 'started'
      then 'message_of_finished_task'
    when p_task.message_id is distinct from p_msg_id then 'duplicate_message'
    when p_task.status = 'started' and p_vt < clock_timestamp() - interval '5 minutes' then 'expired_lease'
  end;
end
$$;

comment on function pgflow._message_verdict(pgflow.runs, pgflow.step_states, pgflow.step_tasks, bigint, timestamptz) is
'The invariant that a message breaks, or null.';
