-- Evaluate the conditions of a run's ready steps, round after round until none is skipped any more. An unmet condition
-- fails the run, skips the step, or skips it with all that depends on it. There is no limit on rounds; each looks only
-- at the children of what the last one skipped. Returns false when the run is or becomes failed. Locks: the run's row,
-- then the steps'; a caller that may fail the run by this holds the run exclusively.
create or replace function pgflow.cascade_resolve_conditions(run_id uuid)
returns boolean
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
declare
  v_run_id uuid := cascade_resolve_conditions.run_id;
  v_run pgflow.runs;
  v_unmet pgflow.step_states[];
  v_candidates text[];
  v_skipped int := 0;
  v_step record;
  v_slugs text[];
begin
  select run.* into v_run from pgflow.runs as run where run.run_id = v_run_id for no key update;
  if not found or v_run.status <> 'started' then
    return coalesce(v_run.status, '') <> 'failed';
  end if;
  loop
    v_unmet := pgflow._unmet_steps(v_run, v_candidates);
    exit when v_unmet is null;

    select step.* into v_step from unnest(v_unmet) as step
    where step.when_unmet = 'fail'
    order by step.step_index
    limit 1;
    if found then
      perform pgflow._count_steps_down(v_run_id, v_skipped);
      perform pgflow._fail_step(v_run_id, v_step.step_slug, 'Condition not met');
      return false;
    end if;

    v_slugs := array(
      select step.step_slug from unnest(v_unmet) as step where step.when_unmet = 'skip' order by step.step_index
    );
    perform pgflow._skip_steps(v_run_id, v_slugs, 'condition_unmet');
    perform pgflow._resolve_parents(array(
      select found.step from pgflow._steps_of(array_fill(v_run_id, array[cardinality(v_slugs)]), v_slugs) as found
    ));
    v_skipped := v_skipped + cardinality(v_slugs);
    for v_step in
      select step.step_slug from unnest(v_unmet) as step where step.when_unmet = 'skip-cascade' order by step.step_index
    loop
      perform pgflow._cascade_force_skip_steps(v_run_id, v_step.step_slug, 'condition_unmet');
    end loop;
    v_candidates := array(
      select distinct child from unnest(v_unmet) as step cross join lateral unnest(step.children) as child
    );
  end loop;
  perform pgflow._count_steps_down(v_run_id, v_skipped);
  return true;
end
$$;

comment on function pgflow.cascade_resolve_conditions(uuid) is
'Skip or fail the ready steps of a run whose conditions are unmet; false when the run has failed.';
