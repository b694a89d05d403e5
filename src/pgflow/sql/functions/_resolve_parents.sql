-- Take it into account that some steps are over, completed or skipped: their children wait for that many parents less,
-- and a map over one of them learns its number of tasks (none for a skipped parent). Children that are over as well stay
-- as they are. Called under the runs' locks, which nobody passes who would touch the children.
create or replace function pgflow._resolve_parents(p_run_ids uuid[], p_step_slugs text[])
returns void
language plpgsql
set search_path = ''
as $$
begin
  with children as (
    select
      parent.run_id, child.slug, count(*) as resolved,
      max(
        case
          when parent.status = 'skipped' then 0
          when parent.step_type = 'map' then parent.initial_tasks
          when parent.feeds_map and jsonb_typeof(parent.output) = 'array' then jsonb_array_length(parent.output)
        end
      ) as elements
    from unnest(p_run_ids, p_step_slugs) as resolved (run_id, slug)
    cross join lateral (
      select * from pgflow.step_states as state
      where state.run_id = resolved.run_id and state.step_slug = resolved.slug
      offset 0
    ) as parent
    cross join lateral unnest(parent.children) as child (slug)
    group by parent.run_id, child.slug
  ),
  placed as materialized (
    select state.place, children.resolved, children.elements
    from children
    cross join lateral (
      select known.ctid as place, known.status from pgflow.step_states as known
      where known.run_id = children.run_id and known.step_slug = children.slug
      offset 0
    ) as state
    where state.status in ('created', 'started')
  )
  update pgflow.step_states as state
  set
    remaining_deps = greatest(state.remaining_deps - placed.resolved, 0),
    initial_tasks = case
      when state.step_type = 'map' and state.initial_tasks is null then placed.elements else state.initial_tasks
    end
  from placed
  where state.ctid = placed.place;
end
$$;

comment on function pgflow._resolve_parents(uuid[], text[]) is
'Count down the children of steps that are over.';
