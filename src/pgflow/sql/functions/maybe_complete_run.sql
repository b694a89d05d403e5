-- Complete one run if all its steps are: the contract's form of _complete_runs.
create or replace function pgflow.maybe_complete_run(run_id uuid)
returns void
language sql
set search_path = ''
as $$
  select pgflow._complete_runs(array[maybe_complete_run.run_id])
$$;

comment on function pgflow.maybe_complete_run(uuid) is 'Complete a run that has no steps left; else nothing.';
