-- Take some runs as far as they go without a worker: conditions and empty maps until neither changes anything, then
-- start what is ready and complete what is done. Returns what a taker was granted. Locks: under the runs' lock of the
-- caller, or the caller's new rows.
create or replace function pgflow._advance_runs(p_run_ids uuid[], p_taker pgflow.taker default null)
returns pgflow.granted_task[]
language plpgsql
set search_path = ''
as $$
declare
  v_run record;
  v_granted pgflow.granted_task[];
begin
  for v_run in
    select run.run_id, run.has_conditions, run.has_maps
    from pgflow.runs as run
    where run.run_id = any(p_run_ids) and run.status = 'started' and (run.has_conditions or run.has_maps)
    order by run.run_id
  loop
    loop
      exit when v_run.has_conditions and not pgflow.cascade_resolve_conditions(v_run.run_id);
      exit when pgflow.cascade_complete_taskless_steps(v_run.run_id) = 0;
    end loop;
  end loop;
  v_granted := pgflow._start_ready_steps(p_run_ids, p_taker);
  perform pgflow._complete_runs(p_run_ids);
  return v_granted;
end
$$;

comment on function pgflow._advance_runs(uuid[], pgflow.taker) is
'Resolve conditions, complete empty maps, start ready steps, complete runs.';
