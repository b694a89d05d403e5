-- Skip a step and everything that depends on it, as far as it is not over, parents before children, and archive their
-- messages. The walk goes level by level over the children that each state lists. Returns how many were skipped.
-- Locks: the run's row, then the steps' and the messages'.
create or replace function pgflow._cascade_force_skip_steps(run_id uuid, step_slug text, skip_reason text)
returns integer
language plpgsql
set search_path = ''
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  v_run_id uuid := _cascade_force_skip_steps.run_id;
  v_root text := _cascade_force_skip_steps.step_slug;
  v_downstream text[];
  v_skipped text[];
begin
  perform 1 from pgflow.runs as run where run.run_id = v_run_id for no key update;
  if not found then
    raise exception 'Run not found: %', v_run_id using errcode = 'no_data_found';
  end if;
  with recursive downstream as (
    select v_root as step_slug
    union
    select child.step_slug
    from downstream
    cross join lateral (
      select state.children from pgflow.step_states as state
      where state.run_id = v_run_id and state.step_slug = downstream.step_slug
      offset 0
    ) as parent
    cross join lateral unnest(parent.children) as child (step_slug)
  )
  select array_agg(downstream.step_slug) into v_downstream
  from downstream
  where downstream.step_slug <> v_root;

  v_skipped := pgflow._skip_steps(v_run_id, array[v_root], _cascade_force_skip_steps.skip_reason)
    || pgflow._skip_steps(v_run_id, coalesce(v_downstream, '{}'), 'dependency_skipped');
  perform pgflow._archive_messages(v_run_id, v_skipped);
  perform pgflow._count_steps_down(v_run_id, cardinality(v_skipped));
  return cardinality(v_skipped);
end
$$;

comment on function pgflow._cascade_force_skip_steps(uuid, text, text) is
'Skip a step and all steps downstream of it; returns how many became skipped.';
