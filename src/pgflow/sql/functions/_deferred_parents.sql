-- List the parents of a step whose outputs are too large for one value and must be read with step_output.
create or replace function pgflow._deferred_parents(p_run_id uuid, p_deps text[])
returns text[]
language plpgsql
stable
set search_path = ''
as $$
begin
  return (
    select array(
      select parent.step_slug
      from unnest(p_deps) as dep (slug)
      cross join lateral (
        select * from pgflow.step_states as state
        where state.run_id = p_run_id and state.step_slug = dep.slug
        offset 0
      ) as parent
      where
        parent.status = 'completed'
        and parent.output is null
        and parent.step_type = 'map'
        and parent.initial_tasks > 0
      order by parent.step_slug
    )
  );
end
$$;

comment on function pgflow._deferred_parents(uuid, text[]) is 'Completed map parents whose output is kept in their tasks.';
