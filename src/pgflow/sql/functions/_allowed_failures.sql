-- Compute how many tasks of a step may fail for good: the larger of its number and its percentage of all tasks.
create or replace function pgflow._allowed_failures(p_state pgflow.step_states)
returns integer
language plpgsql
immutable
set search_path = ''
as $$
begin
  return greatest(
    coalesce(p_state.max_failed_tasks, 0),
    floor(coalesce(p_state.max_failed_percent, 0)::numeric * p_state.initial_tasks / 100)
  );
end
$$;

comment on function pgflow._allowed_failures(pgflow.step_states) is 'Tasks of a step that may fail without failing it.';
