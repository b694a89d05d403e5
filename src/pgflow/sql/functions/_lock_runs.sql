-- Lock the runs that a batch of reports belongs to, in the order of their ids: shared (for key share), so that batches
-- of one run go on side by side, or exclusively (for update) where a report may end the run or a step before its time.
-- This is the first lock of every report; docs/architecture.md has the whole order. Locks: the runs' rows.
create or replace function pgflow._lock_runs(p_run_ids uuid[], p_exclusive_run_ids uuid[])
returns void
language plpgsql
set search_path = ''
as $$
declare
  v_run_id uuid;
begin
  if p_exclusive_run_ids = '{}' then
    perform 1 from pgflow.runs as run where run.run_id = any(p_run_ids) order by run.run_id for key share;
    return;
  end if;
  perform pgflow._require_read_committed();
  for v_run_id in
    select distinct id from unnest(p_run_ids) as id order by id
  loop
    if v_run_id = any(p_exclusive_run_ids) then
      perform 1 from pgflow.runs as run where run.run_id = v_run_id for update;
    else
      perform 1 from pgflow.runs as run where run.run_id = v_run_id for key share;
    end if;
  end loop;
end
$$;

comment on function pgflow._lock_runs(uuid[], uuid[]) is
'Lock runs by id: shared, and exclusively those in the second array.';
