-- Mark some steps of a run as skipped and tell of each, in the order of their definition; steps that are over already
-- are left as they are. Counts nothing down. Called under the run's lock. Locks: the steps' rows.
create or replace function pgflow._skip_steps(
  p_run_id uuid, p_step_slugs text[], p_reason text, p_error_message text default null
)
returns text[]
language plpgsql
set search_path = ''
as $$
declare
  v_skipped pgflow.step_states[];
  v_step record;
begin
  with skipped as (
    update pgflow.step_states as state
    set
      status = 'skipped', skip_reason = p_reason, skipped_at = greatest(now(), state.created_at),
      remaining_tasks = null, error_message = coalesce(p_error_message, state.error_message)
    where
      state.ctid = any(array(
        select open.place
        from unnest(p_step_slugs) as step (slug)
        cross join lateral (
          select known.ctid as place, known.status from pgflow.step_states as known
          where known.run_id = p_run_id and known.step_slug = step.slug
          offset 0
        ) as open
        where open.status in ('created', 'started')
      ))
    returning state as step
  )
  select array_agg(skipped.step order by (skipped.step).step_index) into v_skipped
  from skipped;
  for v_step in select step.* from unnest(v_skipped) as step loop
    perform pgflow._emit(
      p_run_id, 'step:' || v_step.step_slug || ':skipped',
      jsonb_build_object(
        'event_type', 'step:skipped', 'run_id', p_run_id, 'flow_slug', v_step.flow_slug,
        'step_slug', v_step.step_slug, 'status', 'skipped',
        'skip_reason', p_reason, 'skipped_at', v_step.skipped_at
      ) || case
        when p_error_message is null then '{}' else jsonb_build_object('error_message', p_error_message)
      end
    );
  end loop;
  return array(select step.step_slug from unnest(v_skipped) as step);
end
$$;

comment on function pgflow._skip_steps(uuid, text[], text, text) is
'Skip steps with one reason and send their events; returns those that were not over yet.';
