-- Create the one task of a single step that has just started, and its message: what _enqueue_tasks does for many.
-- Granted to the taker at once if it may run it and has room; else the workers of the queue are woken. Returns the
-- grant, or null. Locks: none but the new rows'.
create or replace function pgflow._enqueue_single(
  p_run_id uuid, p_flow_slug text, p_step_slug text, p_deps text[], p_queue_name text, p_start_delay integer,
  p_started_at timestamptz, p_max_attempts integer, p_timeout integer, p_last_fence integer, p_taker pgflow.taker
)
returns pgflow.granted_task
language plpgsql
set search_path = ''
as $$
declare
  v_now timestamptz := clock_timestamp();
  v_is_taken boolean := coalesce(
    p_taker.qty > 0 and p_queue_name = any(p_taker.queue_names) and coalesce(p_start_delay, 0) = 0
    and pgflow._can_run(p_taker.handlers, p_flow_slug, p_step_slug, 'single', p_deps),
    false
  );
  v_msg_ids bigint[];
  v_parents pgflow.parent_outputs;
begin
  execute 'select ' || pgflow._queue_function(p_queue_name, 'send') || '($1, $2)'
  into v_msg_ids
  using
    array[case
      when v_is_taken then v_now + make_interval(secs => p_taker.lease)
      when p_start_delay > 0 then v_now + make_interval(secs => p_start_delay)
      else least(p_started_at, v_now)
    end],
    array[jsonb_build_object('flow_slug', p_flow_slug, 'run_id', p_run_id, 'step_slug', p_step_slug, 'task_index', 0)];
  if not v_is_taken then
    insert into pgflow.step_tasks (flow_slug, run_id, step_slug, message_id, attempts_count, released_count)
    values (p_flow_slug, p_run_id, p_step_slug, v_msg_ids[1], p_last_fence, p_last_fence);
    perform pg_notify('pgflow_wake', p_queue_name);
    return null;
  end if;
  insert into pgflow.step_tasks (
    flow_slug, run_id, step_slug, message_id, status, attempts_count, released_count, started_at, last_worker_id
  )
  values (
    p_flow_slug, p_run_id, p_step_slug, v_msg_ids[1], 'started', p_last_fence + 1, p_last_fence, now(), p_taker.worker_id
  );
  v_parents := pgflow._parent_outputs(p_run_id, p_deps);
  return (
    p_flow_slug, p_run_id, p_step_slug, 0, p_last_fence + 1, v_parents.outputs, null::jsonb, v_msg_ids[1], p_queue_name,
    'single', 1, greatest(p_max_attempts, 1), p_timeout, false, v_parents.deferred, null::int, false
  )::pgflow.granted_task;
end
$$;

comment on function pgflow._enqueue_single(
  uuid, text, text, text[], text, integer, timestamptz, integer, integer, integer, pgflow.taker
) is 'Create the task of a single step.';
