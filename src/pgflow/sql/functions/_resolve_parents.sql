-- Take it into account that some steps are over, completed or skipped: their children wait for that many parents less,
-- and a map over one of them learns its number of tasks (none for a skipped parent). In the runs of p_startable a child
-- that waits for nothing more, and has tasks, is started by the same update. Returns the children, as they are now;
-- those that had started or ended stay as they are. Called under the runs' locks, which nobody passes who would touch
-- them.
create or replace function pgflow._resolve_parents(p_parents pgflow.step_states[], p_startable uuid[] default '{}')
returns pgflow.step_states[]
language plpgsql
set search_path = ''
as $$
declare
  v_children pgflow.step_states[];
begin
  with resolved as (
    select
      parent.run_id, child.slug, count(*) as parents,
      coalesce(bool_or(parent.run_id = any(p_startable)), false) as may_start,
      max(
        case
          when parent.status = 'skipped' then 0
          when parent.step_type = 'map' then parent.initial_tasks
          when parent.feeds_map and jsonb_typeof(parent.output) = 'array' then jsonb_array_length(parent.output)
        end
      ) as elements
    from unnest(p_parents) as parent
    cross join lateral unnest(parent.children) as child (slug)
    group by parent.run_id, child.slug
  ),
  placed as materialized (
    select
      state.place, state.tasks, state.deps,
      resolved.may_start and state.deps = 0 and state.tasks > 0 as starts
    from resolved
    cross join lateral (
      select
        known.ctid as place, known.status, greatest(known.remaining_deps - resolved.parents, 0) as deps,
        case
          when known.step_type = 'map' and known.initial_tasks is null then resolved.elements else known.initial_tasks
        end as tasks
      from pgflow.step_states as known
      where known.run_id = resolved.run_id and known.step_slug = resolved.slug
      offset 0
    ) as state
    where state.status = 'created'
  ),
  updated as (
    update pgflow.step_states as state
    set
      remaining_deps = placed.deps, initial_tasks = placed.tasks,
      status = case when placed.starts then 'started' else 'created' end,
      started_at = case when placed.starts then now() else state.started_at end,
      remaining_tasks = case when placed.starts then placed.tasks end
    from placed
    where state.ctid = placed.place
    returning state as whole
  )
  select array_agg(updated.whole order by (updated.whole).run_id, (updated.whole).step_index) into v_children from updated;
  return coalesce(v_children, '{}');
end
$$;

comment on function pgflow._resolve_parents(pgflow.step_states[], uuid[]) is
'Count down the children of steps that are over, and start those that may start.';
