-- Take it into account that some steps of a run are over, completed or skipped: their children wait for that many
-- parents less, and a map over one of them learns its number of tasks (none for a skipped parent). Children that are
-- over as well stay as they are. Called under the run's lock. Locks: the children's rows by slug.
create or replace function pgflow._resolve_parents(p_run_id uuid, p_step_slugs text[])
returns void
language plpgsql
set search_path = ''
as $$
declare
  v_child record;
begin
  for v_child in
    select
      child.slug, count(*) as resolved,
      max(
        case
          when parent.status = 'skipped' then 0
          when parent.step_type = 'map' then parent.initial_tasks
          when parent.feeds_map and jsonb_typeof(parent.output) = 'array' then jsonb_array_length(parent.output)
        end
      ) as elements
    from unnest(p_step_slugs) as resolved (slug)
    cross join lateral (
      select * from pgflow.step_states as state
      where state.run_id = p_run_id and state.step_slug = resolved.slug
      offset 0
    ) as parent
    cross join lateral unnest(parent.children) as child (slug)
    group by child.slug
    order by child.slug
  loop
    update pgflow.step_states as state
    set
      remaining_deps = greatest(state.remaining_deps - v_child.resolved, 0),
      initial_tasks = case
        when state.step_type = 'map' and state.initial_tasks is null then v_child.elements else state.initial_tasks
      end
    where
      state.run_id = p_run_id and state.step_slug = v_child.slug and state.status in ('created', 'started');
  end loop;
end
$$;

comment on function pgflow._resolve_parents(uuid, text[]) is
'Count down the children of steps that are over.';
