-- Take a run up again where it failed: tasks that failed get all their attempts anew, steps downstream of them run
-- again, also those that had completed, everything else stays. Also for a completed run some of whose map's items failed
-- under a policy that allows it. With a step only that step's failures are taken up. Refused while the run is live,
-- after a cancellation, when nothing failed, and when a step has failed that is neither taken up nor behind one that is.
-- Locks: the run exclusively, then steps, tasks and messages.
create or replace function pgflow.retry_run(run_id uuid, step_slug text default null)
returns setof pgflow.runs
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
  v_run pgflow.runs;
  v_retried text[];
  v_failed text;
begin
  perform pgflow._require_read_committed();
  select run.* into v_run from pgflow.runs as run where run.run_id = retry_run.run_id for update;
  if not found then
    return;
  end if;
  v_retried := array(
    select state.step_slug from pgflow.step_states as state
    where
      state.run_id = v_run.run_id
      and (state.status = 'failed' or (state.status = 'completed' and state.failed_tasks > 0))
      and (retry_run.step_slug is null or state.step_slug = retry_run.step_slug)
    order by state.step_slug
  );
  if v_run.status not in ('failed', 'completed') or v_retried = '{}' then
    raise exception 'Run % is % and has no failed step%, so there is nothing to retry',
      v_run.run_id, v_run.status, coalesce(' "' || retry_run.step_slug || '"', '')
      using errcode = 'object_not_in_prerequisite_state',
      hint = 'Retry a run that has failed, or a completed one with failed items.';
  end if;
  v_retried := pgflow._reset_downstream(v_run.run_id, v_retried);
  select state.step_slug into v_failed from pgflow.step_states as state
  where state.run_id = v_run.run_id and state.status = 'failed' and state.step_slug <> all(v_retried);
  if found then
    raise exception 'Run % has failed in step "%", so it can''t go on with step "%" alone',
      v_run.run_id, v_failed, retry_run.step_slug
      using errcode = 'object_not_in_prerequisite_state',
      hint = 'Retry the step that has failed, or name none.';
  end if;
  perform pgflow._reopen_steps(v_run.run_id, v_retried || array(
    select state.step_slug from pgflow.step_states as state
    where state.run_id = v_run.run_id and state.status = 'started'
    order by state.step_slug
  ));
  update pgflow.runs as run
  set
    status = 'started', failed_at = null, completed_at = null, output = null, error_message = null,
    remaining_steps = (
      select count(*) from pgflow.step_states as state
      where state.run_id = run.run_id and state.status not in ('completed', 'skipped')
    )
  where run.run_id = v_run.run_id
  returning run.* into v_run;
  perform pgflow._emit(
    v_run.run_id, 'run:retried',
    jsonb_build_object(
      'event_type', 'run:retried', 'run_id', v_run.run_id, 'flow_slug', v_run.flow_slug, 'status', 'started',
      'remaining_steps', v_run.remaining_steps, 'steps', to_jsonb(v_retried)
    )
  );
  perform pgflow._send_lost_messages(v_run.run_id);
  perform pgflow._advance_runs(array[v_run.run_id]);
  return query select run.* from pgflow.runs as run where run.run_id = v_run.run_id;
end
$$;

comment on function pgflow.retry_run(uuid, text) is
'Resume a failed run, or reprocess the failed items of a completed one; steps behind what failed run again.';
