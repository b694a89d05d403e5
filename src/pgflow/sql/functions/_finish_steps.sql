-- Complete steps whose last task is over: output, event, children, and whatever becomes ready by it. The runs' rows are
-- locked for that, so that the children of one run are touched by one session at a time.
-- Locks: the runs' rows by id, then the steps', then their children's.
create or replace function pgflow._finish_steps(p_run_ids uuid[], p_step_slugs text[])
returns void
language plpgsql
set search_path = ''
as $$
declare
  v_step pgflow.step_states;
  v_run_id uuid;
  v_slugs text[];
begin
  perform 1 from pgflow.runs as run where run.run_id = any(p_run_ids) order by run.run_id for no key update;
  for v_run_id, v_slugs in
    select finished.run_id, array_agg(finished.step_slug order by finished.step_slug)
    from unnest(p_run_ids, p_step_slugs) as finished (run_id, step_slug)
    inner join pgflow.runs as run on finished.run_id = run.run_id
    where run.status = 'started'
    group by finished.run_id
    order by finished.run_id
  loop
    for v_step in
      select state.*
      from unnest(v_slugs) as finished (slug)
      cross join lateral (
        select * from pgflow.step_states as known
        where known.run_id = v_run_id and known.step_slug = finished.slug
        offset 0
      ) as state
      order by state.step_index
    loop
      if v_step.status = 'started' then
        update pgflow.step_states as state
        set
          status = 'completed', completed_at = greatest(now(), state.started_at),
          output = pgflow._step_output(state)
        where state.run_id = v_run_id and state.step_slug = v_step.step_slug
        returning state.* into v_step;
      end if;
      perform pgflow._emit(
        v_run_id, 'step:' || v_step.step_slug || ':completed',
        jsonb_build_object(
          'event_type', 'step:completed', 'run_id', v_run_id, 'flow_slug', v_step.flow_slug,
          'step_slug', v_step.step_slug, 'status', 'completed', 'completed_at', v_step.completed_at
        ),
        'output', v_step.output
      );
    end loop;
    perform pgflow._resolve_parents(v_run_id, v_slugs);
    perform pgflow._count_steps_down(v_run_id, cardinality(v_slugs));
  end loop;
  perform pgflow._advance_runs(p_run_ids);
end
$$;

comment on function pgflow._finish_steps(uuid[], text[]) is 'Complete steps, and advance their runs.';
