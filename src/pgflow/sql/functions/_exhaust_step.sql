-- Decide what becomes of a step some of whose tasks have just failed for good. Within the failures that its map allows
-- it goes on without them; else it fails with its run, or is skipped alone or with all downstream. Called under the
-- run's exclusive lock; does nothing when the run or the step is over. Locks: steps and messages.
create or replace function pgflow._exhaust_step(p_run_id uuid, p_step_slug text, p_task_indexes integer[])
returns void
language plpgsql
set search_path = ''
as $$
declare
  v_state pgflow.step_states;
  v_child text;
  v_error text;
begin
  update pgflow.step_states as state
  set failed_tasks = state.failed_tasks + cardinality(p_task_indexes)
  from pgflow.runs as run
  where
    state.run_id = p_run_id and state.step_slug = p_step_slug and state.status = 'started'
    and run.run_id = p_run_id and run.status = 'started'
  returning state.* into v_state;
  if not found then
    return;
  end if;

  if v_state.failed_tasks <= pgflow._allowed_failures(v_state) then
    update pgflow.step_states as state
    set remaining_tasks = state.remaining_tasks - cardinality(p_task_indexes)
    where state.run_id = p_run_id and state.step_slug = p_step_slug
    returning state.* into v_state;
    if v_state.remaining_tasks = 0 then
      perform pgflow._finish_steps(array[v_state]);
    elsif v_state.initial_tasks > pgflow._max_slice() then
      perform pgflow._continue_fan_out(coalesce(v_state.queue_name, v_state.flow_slug), p_run_id, p_step_slug);
    end if;
    return;
  end if;

  select task.error_message into v_error from pgflow.step_tasks as task
  where task.run_id = p_run_id and task.step_slug = p_step_slug and task.task_index = p_task_indexes[1];
  if v_state.when_exhausted = 'fail' then
    perform pgflow._fail_step(p_run_id, p_step_slug, v_error);
    return;
  end if;
  perform pgflow._skip_steps(p_run_id, array[p_step_slug], 'handler_failed', v_error);
  perform pgflow._archive_messages(p_run_id, array[p_step_slug]);
  perform pgflow._count_steps_down(p_run_id, 1);
  if v_state.when_exhausted = 'skip' then
    perform pgflow._resolve_parents(array(
      select found.step from pgflow._steps_of(array[p_run_id], array[p_step_slug]) as found
    ));
  else
    foreach v_child in array v_state.children loop
      perform pgflow._cascade_force_skip_steps(p_run_id, v_child, 'dependency_skipped');
    end loop;
  end if;
  perform pgflow._advance_runs(array[p_run_id]);
end
$$;

comment on function pgflow._exhaust_step(uuid, text, integer[]) is
'Apply the failure policy of a step to tasks that have no attempts left.';
