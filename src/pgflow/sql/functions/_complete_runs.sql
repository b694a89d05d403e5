-- Complete the runs, of those given, that have no steps left. The output has a key for each completed leaf step; a leaf
-- whose output is kept in its tasks appears as null. Locks: the runs' rows, by id.
create or replace function pgflow._complete_runs(p_run_ids uuid[])
returns void
language plpgsql
set search_path = ''
as $$
declare
  v_run pgflow.runs;
begin
  for v_run in
    select run.* from pgflow.runs as run
    where run.run_id = any(p_run_ids) and run.remaining_steps = 0 and run.status = 'started'
    order by run.run_id
    for no key update
  loop
    update pgflow.runs as run
    set
      status = 'completed',
      completed_at = greatest(now(), run.started_at),
      output = pgflow._run_output(run.run_id)
    where run.run_id = v_run.run_id
    returning run.* into v_run;
    perform pgflow._emit(
      v_run.run_id, 'run:completed',
      jsonb_build_object(
        'event_type', 'run:completed', 'run_id', v_run.run_id, 'flow_slug', v_run.flow_slug,
        'status', 'completed', 'completed_at', v_run.completed_at
      ),
      'output', v_run.output
    );
  end loop;
end
$$;

comment on function pgflow._complete_runs(uuid[]) is 'Complete every run that has no steps left, with output and event.';
