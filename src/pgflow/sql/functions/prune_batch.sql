-- Delete a batch of what prune_data_older_than deletes, in a transaction of the caller's, to be called again until it
-- returns 0: up to max_runs runs, ten times as many archived messages, and ten workers. With a flow or statuses only runs
-- of these go, so that each flow and each outcome can have a retention of its own. What somebody holds is left for the
-- next batch. Locks: as prune_data_older_than, without waiting.
create or replace function pgflow.prune_batch(
  retention_interval interval,
  max_runs integer default 1000,
  flow_slug text default null,
  statuses text[] default null
)
returns pgflow.pruned
language plpgsql
set search_path = ''
as $$
declare
  v_cutoff timestamptz := now() - retention_interval;
  v_pruned pgflow.pruned;
begin
  if max_runs is null or max_runs < 1 then
    raise exception 'max_runs must be at least 1, not %', coalesce(max_runs::text, 'null')
      using errcode = 'invalid_parameter_value';
  end if;
  if not statuses <@ array['completed', 'failed', 'cancelled'] then
    raise exception 'Only completed, failed and cancelled runs are pruned, not %', array_to_string(statuses, ', ')
      using errcode = 'invalid_parameter_value';
  end if;
  v_pruned.runs := pgflow._prune_runs(v_cutoff, max_runs, flow_slug, statuses);
  v_pruned.messages := 0;
  v_pruned.workers := 0;
  if flow_slug is null and statuses is null then
    v_pruned.messages := pgflow._prune_archives(v_cutoff, 10 * max_runs);
    v_pruned.workers := pgflow._prune_workers(v_cutoff, 10);
  end if;
  return v_pruned;
end
$$;

comment on function pgflow.prune_batch(interval, integer, text, text[]) is
'Delete a batch of old runs, messages and workers; return how many of each, to be repeated until all are 0.';
