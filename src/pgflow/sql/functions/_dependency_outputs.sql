-- Put together what a step with dependencies gets: an object of its completed parents' outputs. Skipped parents are
-- absent, and so are maps whose outputs are kept in their tasks.
create or replace function pgflow._dependency_outputs(p_run_id uuid, p_deps text[])
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
begin
  return (
    select coalesce(jsonb_object_agg(parent.step_slug, coalesce(parent.output, 'null')), '{}')
    from unnest(p_deps) as dep (slug)
    cross join lateral (
      select * from pgflow.step_states as state
      where state.run_id = p_run_id and state.step_slug = dep.slug
      offset 0
    ) as parent
    where
      parent.status = 'completed'
      and (parent.output is not null or parent.step_type = 'single' or parent.initial_tasks = 0)
  );
end
$$;

comment on function pgflow._dependency_outputs(uuid, text[]) is
'The outputs of a step''s completed parents by their slugs.';
