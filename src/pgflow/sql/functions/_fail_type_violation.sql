-- Fail a run whose step gave a map something else than an array, or more items than the flow allows: the task keeps
-- the output that it gave, step and run fail with a message that names both steps. It is never retried. Called under
-- the run's exclusive lock. Locks: the task, the step, the messages.
create or replace function pgflow._fail_type_violation(p_run_id uuid, p_step_slug text, p_output jsonb)
returns void
language plpgsql
set search_path = ''
as $$
declare
  v_type text := coalesce(jsonb_typeof(p_output), 'null');
  v_produced text := format('[TYPE_VIOLATION] Produced %s instead of array', v_type);
  v_expects text := '[TYPE_VIOLATION] Map step %s expects array input but dependency %s produced %s';
  v_child text;
begin
  if v_type = 'array' then
    v_type := format('%s items', jsonb_array_length(p_output));
    v_expects := (
      select '[TOO_MANY_ITEMS] Map step %s may have at most ' || run.max_items || ' items but dependency %s produced %s'
      from pgflow.runs as run
      where run.run_id = p_run_id
    );
    v_produced := format('[TOO_MANY_ITEMS] Produced %s', v_type);
  end if;
  select child.step_slug into v_child
  from pgflow.step_states as state
  inner join pgflow.step_states as child on state.run_id = child.run_id and child.step_slug = any(state.children)
  where
    state.run_id = p_run_id and state.step_slug = p_step_slug
    and child.step_type = 'map' and child.initial_tasks is null
  order by child.step_index
  limit 1;
  with failed as (
    update pgflow.step_tasks as task
    set
      status = 'failed', failed_at = greatest(now(), task.started_at), output = p_output,
      error_message = v_produced
    where task.run_id = p_run_id and task.step_slug = p_step_slug and task.status = 'started'
    returning task.*
  )
  insert into pgflow.attempts (run_id, step_slug, task_index, attempt, worker_id, started_at, outcome, error, details)
  select
    failed.run_id, failed.step_slug, failed.task_index, failed.attempts_count, failed.last_worker_id,
    failed.started_at, 'failed', failed.error_message, '{"kind": "type_violation"}'
  from failed;
  perform pgflow._fail_step(
    p_run_id, p_step_slug,
    format(v_expects, v_child, p_step_slug, v_type)
  );
  perform pgflow._archive_task_message(p_run_id, p_step_slug, 0);
end
$$;

comment on function pgflow._fail_type_violation(uuid, text, jsonb) is
'Fail a task, its step and its run because a map can''t go over the output.';
