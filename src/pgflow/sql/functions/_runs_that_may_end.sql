-- Pick the runs of a batch of completions that must be locked exclusively: those in which a condition may fail the
-- run, and those that get something else than an array for a map to go over, or more items than a map of theirs may
-- have. A plan never changes, so no lock is needed.
create or replace function pgflow._runs_that_may_end(p_run_ids uuid[], p_step_slugs text[], p_outputs jsonb[])
returns uuid[]
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
    select report.run_id
    from unnest(p_run_ids, p_step_slugs, p_outputs) as report (run_id, step_slug, output)
    cross join lateral (
      select known.feeds_map from pgflow.step_states as known
      where known.run_id = report.run_id and known.step_slug = report.step_slug
      offset 0
    ) as state
    where state.feeds_map and case
      when jsonb_typeof(report.output) = 'array' then jsonb_array_length(report.output) > (
        select run.max_items from pgflow.runs as run where run.run_id = report.run_id
      )
      else true
    end
  );
end
$$;

comment on function pgflow._runs_that_may_end(uuid[], text[], jsonb[]) is
'The runs that a batch of completions may fail.';
