-- Delete what has been over for longer than an interval: runs with their tasks, states, attempts and messages, archived
-- messages, quarantined ones, and workers without a heartbeat since. Live runs stay whatever their age. All in one
-- transaction, as the protocol has it; for a large backlog call prune_batch until it returns nothing.
-- Locks: the runs exclusively, by id; then everything of theirs; then those workers' rows that are free.
create or replace function pgflow.prune_data_older_than(retention_interval interval)
returns void
language plpgsql
set search_path = ''
as $$
declare
  v_cutoff timestamptz := now() - retention_interval;
begin
  perform pgflow._prune_runs(v_cutoff, null, null, null);
  perform pgflow._prune_archives(v_cutoff, null);
  perform pgflow._prune_workers(v_cutoff, null);
end
$$;

comment on function pgflow.prune_data_older_than(interval) is
'Delete runs that ended, messages archived and workers last seen before now minus the interval.';
