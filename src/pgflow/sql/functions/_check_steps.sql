-- Check the steps of some runs: counters against the truth, times, and that none began before its parents were over.
-- What the run's end has left behind (a failed or cancelled run's steps) is not counted. Takes no locks.
create or replace function pgflow._check_steps(p_run_ids uuid[])
returns setof pgflow.invariant_finding
language plpgsql
stable
set search_path = ''
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
as $$
begin
  return query
  select
    broken.invariant, 'error', state.run_id, state.step_slug, null::int, coalesce(state.queue_name, state.flow_slug),
    null::bigint,
    coalesce(
      (pgflow._words_of_step(broken.invariant, state, fact.items, fact.last_item, fact.created, fact.open_parents)).detail,
      format('%s is %s, but should be %s.', broken.invariant, to_jsonb(state) ->> broken.invariant, broken.truth)
    ),
    coalesce(
      (pgflow._words_of_step(broken.invariant, state, fact.items, fact.last_item, fact.created, fact.open_parents)).mend,
      format(
        'update pgflow.step_states set %I = %s where run_id = %L and step_slug = %L;',
        broken.invariant, broken.truth, state.run_id, state.step_slug
      )
    ),
    false
  from unnest(p_run_ids) as checked (run_id)
  inner join pgflow.runs as run on checked.run_id = run.run_id
  inner join pgflow.step_states as state on run.run_id = state.run_id
  cross join lateral pgflow._step_facts(state, run.input) as fact
  cross join lateral (
    select
      state.status = 'started' and run.status = 'started', state.initial_tasks - fact.completed - fact.failed,
      (state.status = 'started' and run.status = 'started') or state.status = 'completed'
  ) as now (is_live, remaining, counts)
  cross join lateral (values
    (
      'remaining_deps', case state.status when 'created' then fact.open_parents else 0 end,
      (state.status = 'created' and state.remaining_deps <> fact.open_parents)
      or (state.status = 'started' and state.remaining_deps <> 0)
    ),
    ('remaining_tasks', now.remaining, now.is_live and state.remaining_tasks is distinct from now.remaining),
    ('failed_tasks', fact.failed, now.counts and state.failed_tasks <> fact.failed),
    ('initial_tasks', fact.size, now.counts and state.initial_tasks <> fact.size),
    (
      'missing_tasks', null,
      now.counts and (fact.items <> fact.created or fact.last_item <> fact.created)
      and state.initial_tasks = coalesce(fact.size, state.initial_tasks)
    ),
    ('paused_map', null, now.is_live and fact.has_paused),
    ('step_before_parents', null, state.status in ('started', 'completed') and fact.open_parents > 0),
    (
      'step_not_started', null,
      run.status = 'started' and state.status = 'created' and state.remaining_deps = 0 and fact.open_parents = 0
    ),
    ('step_times', null, not pgflow._has_right_times(state))
  ) as broken (invariant, truth, is_broken)
  where broken.is_broken;
end
$$;

comment on function pgflow._check_steps(uuid[]) is 'What is wrong with the steps of some runs.';
