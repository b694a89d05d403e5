-- Take it into account that a step is over for its few single children, one by its key after the other: what
-- _resolve_parents and _enqueue_steps do for many. Returns what a taker was granted. Called under the run's lock.
create or replace function pgflow._start_children(p_run_id uuid, p_flow_slug text, p_children text[], p_taker pgflow.taker)
returns pgflow.granted_task[]
language plpgsql
set search_path = ''
as $$
declare
  v_slug text;
  v_child record;
  v_taker pgflow.taker := p_taker;
  v_grant pgflow.granted_task;
  v_granted pgflow.granted_task[] := '{}';
begin
  foreach v_slug in array p_children loop
    update pgflow.step_states as state
    set
      remaining_deps = state.remaining_deps - 1,
      status = case when state.remaining_deps = 1 then 'started' else 'created' end,
      started_at = case when state.remaining_deps = 1 then now() end,
      remaining_tasks = case when state.remaining_deps = 1 then 1 end
    where state.run_id = p_run_id and state.step_slug = v_slug and state.status = 'created' and state.remaining_deps > 0
    returning
      state.status, state.deps, state.start_delay, state.started_at, state.max_attempts, state.timeout, state.last_fence,
      coalesce(state.queue_name, state.flow_slug) as queue_name
    into v_child;
    if v_child.status = 'started' then
      perform pgflow._emit(
        p_run_id, 'step:' || v_slug || ':started',
        jsonb_build_object(
          'event_type', 'step:started', 'run_id', p_run_id, 'flow_slug', p_flow_slug, 'step_slug', v_slug,
          'status', 'started', 'started_at', v_child.started_at, 'remaining_tasks', 1, 'remaining_deps', 0
        )
      );
      v_grant := pgflow._enqueue_single(
        p_run_id, p_flow_slug, v_slug, v_child.deps, v_child.queue_name, v_child.start_delay, v_child.started_at,
        v_child.max_attempts, v_child.timeout, v_child.last_fence, v_taker
      );
      if v_grant.run_id is not null then
        v_granted := v_granted || v_grant;
        v_taker.qty := v_taker.qty - 1;
      end if;
    end if;
  end loop;
  return v_granted;
end
$$;

comment on function pgflow._start_children(uuid, text, text[], pgflow.taker) is
'Count down the single children of a step that is over, and start those that wait for nothing more.';
