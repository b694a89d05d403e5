-- Return a run and the states of its steps as one JSON object; null for a run that does not exist. Runs with the
-- rights of its owner, so that clients who may not read the tables can call it.
create or replace function pgflow.get_run_with_states(run_id uuid)
returns jsonb
language sql
stable
security definer
set search_path = ''
as $$
  select jsonb_build_object(
    'run', to_jsonb(run),
    'steps', coalesce(
      (
        select jsonb_agg(to_jsonb(state) order by state.step_index)
        from pgflow.step_states as state
        where state.run_id = run.run_id
      ),
      '[]'
    )
  )
  from pgflow.runs as run
  where run.run_id = get_run_with_states.run_id
$$;

comment on function pgflow.get_run_with_states(uuid) is 'A run and its steps'' states as {"run": {...}, "steps": [...]}.';
