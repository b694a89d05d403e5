-- Check runs by themselves: counter, times, what has to be so at the end, and whether a live one can go on. Takes no
-- locks.
create or replace function pgflow._check_runs(p_run_ids uuid[])
returns setof pgflow.invariant_finding
language plpgsql
stable
set search_path = ''
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
as $$
begin
  return query
  select
    broken.invariant, 'error', run.run_id, null::text, null::int, null::text, null::bigint, broken.detail, broken.mend, false
  from unnest(p_run_ids) as checked (run_id)
  inner join pgflow.runs as run on checked.run_id = run.run_id
  cross join lateral (
    select
      count(*) filter (where state.status not in ('completed', 'skipped')) as open,
      count(*) filter (where state.status = 'failed') as failed,
      count(*) filter (where state.status = 'created' and state.remaining_deps = 0) as ready
    from pgflow.step_states as state
    where state.run_id = run.run_id
  ) as steps
  cross join lateral (values
    (
      'remaining_steps', run.remaining_steps <> steps.open,
      format('remaining_steps is %s, but %s steps are not over.', run.remaining_steps, steps.open),
      format('update pgflow.runs set remaining_steps = %s where run_id = %L;', steps.open, run.run_id)
    ), (
      'run_times',
      (run.completed_at is not null) <> (run.status = 'completed') or (run.failed_at is not null) <> (run.status = 'failed')
      or (run.cancelled_at is not null) <> (run.status = 'cancelled'),
      format('The run is %s, and its times say otherwise.', run.status),
      'Somebody has changed the run by hand: set completed_at, failed_at and cancelled_at to what its status says.'
    ), (
      'run_over_steps_open', run.status = 'completed' and steps.open > 0,
      format('The run is completed, but %s of its steps are not over.', steps.open),
      'Start it anew: what those steps would have done was not done.'
    ), (
      'failed_run_without_failed_step', run.status = 'failed' and steps.failed = 0,
      'The run has failed, but none of its steps.', 'Start it anew: retry_run finds nothing to take up.'
    ), (
      'stuck_run', run.status = 'started' and steps.ready = 0 and not pgflow._has_work(run.run_id),
      'The run is live, but has no task that could bring it on.',
      format('select pgflow.cancel_run(%L); and start it anew.', run.run_id)
    ), (
      'duplicate_key', run.idempotency_key is not null and exists (
        select 1 from pgflow.runs as other
        where
          other.flow_slug = run.flow_slug and other.idempotency_key = run.idempotency_key and other.run_id <> run.run_id
      ),
      format('Another run of the flow has the key "%s", too.', run.idempotency_key),
      'The unique index runs_idempotency_key_idx is gone or broken: remove one of the runs, then create or reindex it.'
    )
  ) as broken (invariant, is_broken, detail, mend)
  where broken.is_broken;
end
$$;

comment on function pgflow._check_runs(uuid[]) is 'What is wrong with some runs by themselves.';
