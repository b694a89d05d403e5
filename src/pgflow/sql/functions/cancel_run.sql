-- Cancel a live run: nothing of it starts any more, no message is left, and workers that hold tasks of it learn so when
-- they renew a lease or report. A run that is over is returned unchanged. Locks: the run exclusively, then the
-- messages.
create or replace function pgflow.cancel_run(run_id uuid, reason text default null)
returns setof pgflow.runs
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
  v_run pgflow.runs;
begin
  perform pgflow._require_read_committed();
  select run.* into v_run from pgflow.runs as run where run.run_id = cancel_run.run_id for update;
  if v_run.status = 'started' then
    update pgflow.runs as run
    set status = 'cancelled', cancelled_at = greatest(now(), run.started_at), cancel_reason = cancel_run.reason
    where run.run_id = v_run.run_id
    returning run.* into v_run;
    perform pgflow._emit(
      v_run.run_id, 'run:cancelled',
      jsonb_build_object(
        'event_type', 'run:cancelled', 'run_id', v_run.run_id, 'flow_slug', v_run.flow_slug,
        'status', 'cancelled', 'cancelled_at', v_run.cancelled_at, 'reason', cancel_run.reason
      )
    );
    perform pgflow._archive_messages(v_run.run_id);
  end if;
  return query select run.* from pgflow.runs as run where run.run_id = cancel_run.run_id;
end
$$;

comment on function pgflow.cancel_run(uuid, text) is 'Cancel a live run and return it; no row if it does not exist.';
