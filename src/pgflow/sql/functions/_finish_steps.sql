-- Complete steps whose last task is over: output, event, children, and whatever becomes ready by it. The runs' rows are
-- locked for that, so that the children of one run are touched by one session at a time.
-- Locks: the runs' rows by id, then the steps', then their children's.
create or replace function pgflow._finish_steps(p_run_ids uuid[], p_step_slugs text[])
returns void
language plpgsql
set search_path = ''
as $$
declare
  v_steps pgflow.step_states[];
  v_step record;
begin
  perform 1 from pgflow.runs as run where run.run_id = any(p_run_ids) order by run.run_id for no key update;
  update pgflow.step_states as state
  set
    status = 'completed', completed_at = greatest(now(), state.started_at),
    output = pgflow._step_output(state)
  where state.ctid = any(array(
    select report.place from pgflow._steps_of(p_run_ids, p_step_slugs) as report
    where report.run_status = 'started' and (report.step).status = 'started'
  ));
  select array_agg(report.step order by (report.step).run_id, (report.step).step_index) into v_steps
  from pgflow._steps_of(p_run_ids, p_step_slugs) as report
  where report.run_status = 'started';

  for v_step in select step.* from unnest(v_steps) as step loop
    perform pgflow._emit(
      v_step.run_id, 'step:' || v_step.step_slug || ':completed',
      jsonb_build_object(
        'event_type', 'step:completed', 'run_id', v_step.run_id, 'flow_slug', v_step.flow_slug,
        'step_slug', v_step.step_slug, 'status', 'completed', 'completed_at', v_step.completed_at
      ),
      'output', v_step.output
    );
  end loop;
  perform pgflow._resolve_parents(
    array(select step.run_id from unnest(v_steps) as step), array(select step.step_slug from unnest(v_steps) as step)
  );
  update pgflow.runs as run
  set remaining_steps = greatest(run.remaining_steps - done.steps, 0)
  from (select step.run_id, count(*) as steps from unnest(v_steps) as step group by step.run_id) as done
  where run.run_id = any(p_run_ids) and run.run_id = done.run_id;
  perform pgflow._advance_runs(p_run_ids);
end
$$;

comment on function pgflow._finish_steps(uuid[], text[]) is 'Complete steps, and advance their runs.';
