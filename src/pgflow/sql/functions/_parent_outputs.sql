-- Put together what a step with dependencies gets: an object of its completed parents' outputs. Skipped parents are
-- absent, and so are maps whose outputs are kept in their tasks; those are listed as deferred, to be read with
-- step_output.
create or replace function pgflow._parent_outputs(p_run_id uuid, p_deps text[])
returns pgflow.parent_outputs
language plpgsql
stable
set search_path = ''
as $$
declare
  v_outputs pgflow.parent_outputs;
begin
  select
    coalesce(jsonb_object_agg(parent.step_slug, coalesce(parent.output, 'null')) filter (where not parent.is_deferred), '{}'),
    coalesce(array_agg(parent.step_slug order by parent.step_slug) filter (where parent.is_deferred), '{}')
  into v_outputs
  from unnest(p_deps) as dep (slug)
  cross join lateral (
    select
      state.step_slug, state.status, state.output,
      state.output is null and state.step_type = 'map' and state.initial_tasks > 0 as is_deferred
    from pgflow.step_states as state
    where state.run_id = p_run_id and state.step_slug = dep.slug
    offset 0
  ) as parent
  where parent.status = 'completed';
  return v_outputs;
end
$$;

comment on function pgflow._parent_outputs(uuid, text[]) is
'The outputs of a step''s completed parents by their slugs, and the parents whose outputs are too large for that.';
