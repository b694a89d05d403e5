-- Find the ready steps of a run whose condition is not met. The subject of a condition is the run's input for a root
-- step, else the object of the completed parents' outputs. With candidates only those are looked at, each by its key:
-- the index of ready steps is full of dead entries in the middle of a long cascade. Returns null when there is none.
create or replace function pgflow._unmet_steps(p_run pgflow.runs, p_candidates text[])
returns pgflow.step_states[]
language plpgsql
stable
set search_path = ''
set enable_seqscan = off
as $$
declare
  v_steps text[] := coalesce(p_candidates, array(
    select state.step_slug from pgflow.step_states as state
    where state.run_id = p_run.run_id and state.status = 'created' and state.remaining_deps = 0
  ));
begin
  return (
    select array_agg(state.whole order by state.step_index)
    from unnest(v_steps) as candidate (slug)
    cross join lateral (
      select known.*, known as whole from pgflow.step_states as known
      where known.run_id = p_run.run_id and known.step_slug = candidate.slug
      offset 0
    ) as state
    cross join lateral (
      select
        case
          when state.deps = '{}' then p_run.input
          else (pgflow._parent_outputs(state.run_id, state.deps)).outputs
        end as value
      where state.required_input_pattern is not null or state.forbidden_input_pattern is not null
    ) as subject
    where
      state.status = 'created'
      and state.remaining_deps = 0
      and not (
        coalesce(subject.value @> state.required_input_pattern, true)
        and not coalesce(subject.value @> state.forbidden_input_pattern, false)
      )
  );
end
$$;

comment on function pgflow._unmet_steps(pgflow.runs, text[]) is 'The ready steps of a run whose condition is not met.';
