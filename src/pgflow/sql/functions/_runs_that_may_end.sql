-- Pick the runs of a batch of completions that must be locked exclusively: those in which a condition may fail the run,
-- and those that get something else than an array for a map to go over. A plan never changes, so no lock is needed.
create or replace function pgflow._runs_that_may_end(p_run_ids uuid [], p_step_slugs text [], p_outputs jsonb [])
returns uuid []
language plpgsql
stable
set search_path = ''
as $$
begin
  return array(
    select distinct run.run_id
    from pgflow.runs as run
    where run.run_id = any(p_run_ids) and run.may_fail_on_condition
    union
    select state.run_id
    from pgflow._reports(p_run_ids, p_step_slugs, null, null, p_outputs) as report
    inner join pgflow.step_states as state on report.run_id = state.run_id and report.step_slug = state.step_slug
    where state.feeds_map and coalesce(jsonb_typeof(report.output), 'null') <> 'array'
  );
end
$$;

comment on function pgflow._runs_that_may_end(uuid [], text [], jsonb []) is
'The runs that a batch of completions may fail.';
