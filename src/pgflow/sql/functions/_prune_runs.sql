-- Delete up to so many runs that ended before a time, with their states, tasks, attempts and messages; of one flow and
-- with some statuses only where these are given. Without a limit all of them, waiting for who holds one; with a limit
-- runs that somebody holds are left for the next batch,
-- and those that started first go first, which an index finds. Returns how many were deleted. Locks: the runs exclusively, by
-- id; then everything of theirs.
create or replace function pgflow._prune_runs(
  p_cutoff timestamptz, p_limit integer, p_flow_slug text, p_statuses text[]
)
returns integer
language plpgsql
set search_path = ''
as $$
declare
  v_run_ids uuid[];
begin
  perform pgflow._require_read_committed();
  if p_limit is null then
    v_run_ids := array(
      select run.run_id from pgflow.runs as run
      where
        run.status <> 'started'
        and (run.completed_at < p_cutoff or run.failed_at < p_cutoff or run.cancelled_at < p_cutoff)
        and (p_flow_slug is null or run.flow_slug = p_flow_slug)
        and (p_statuses is null or run.status = any(p_statuses))
      order by run.run_id
      for update
    );
  else
    v_run_ids := array(
      select run.run_id from pgflow.runs as run
      where
        run.status <> 'started'
        and (run.completed_at < p_cutoff or run.failed_at < p_cutoff or run.cancelled_at < p_cutoff)
        and (p_flow_slug is null or run.flow_slug = p_flow_slug)
        and (p_statuses is null or run.status = any(p_statuses))
      order by run.started_at
      limit p_limit
      for update skip locked
    );
  end if;
  perform pgflow._delete_run_messages(v_run_ids);
  delete from pgflow.step_tasks as task where task.run_id = any(v_run_ids);
  delete from pgflow.step_states as state where state.run_id = any(v_run_ids);
  delete from pgflow.runs as run where run.run_id = any(v_run_ids);
  return cardinality(v_run_ids);
end
$$;

comment on function pgflow._prune_runs(timestamptz, integer, text, text[]) is
'Delete runs that ended before a time, and all that belongs to them; return their number.';
