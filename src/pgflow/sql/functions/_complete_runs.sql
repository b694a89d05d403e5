-- Complete the runs, of those given, that have no steps left. The output has a key for each completed leaf step; a leaf
-- whose output is kept in its tasks appears as null. Locks: the runs' rows, by id.
create or replace function pgflow._complete_runs(p_run_ids uuid[])
returns void
language plpgsql
set search_path = ''
as $$
declare
  v_over uuid[] := array(
    select run.run_id from pgflow.runs as run
    where run.run_id = any(p_run_ids) and run.remaining_steps = 0 and run.status = 'started'
    order by run.run_id
    for no key update
  );
  v_runs pgflow.runs[];
begin
  if v_over = '{}' then
    return;
  end if;
  with completed as (
    update pgflow.runs as run
    set
      status = 'completed',
      completed_at = greatest(now(), run.started_at),
      output = pgflow._run_output(run.run_id)
    where run.run_id = any(v_over)
    returning run as whole
  )
  select array_agg(completed.whole order by (completed.whole).run_id) into v_runs from completed;
  perform pgflow._emit_all(array(select pgflow._run_event(run) from unnest(v_runs) as run));
end
$$;

comment on function pgflow._complete_runs(uuid[]) is 'Complete every run that has no steps left, with output and event.';
