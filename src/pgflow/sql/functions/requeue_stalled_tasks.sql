-- Requeue tasks of live runs that have been started for longer than their timeout and 30 seconds, at most three times
-- each, those of a batch one by one; for deployments whose workers do not recover leases by themselves. A task that
-- stalls once more is marked for good, and its step fails or is skipped as if its attempts were used up. Tasks that
-- another session holds are passed over. Returns the number requeued. Locks: free runs shared and free tasks, then
-- messages; a run exclusively where a task stalled for good.
create or replace function pgflow.requeue_stalled_tasks()
returns integer
language plpgsql
set search_path = ''
as $$
declare
  v_task record;
  v_stalled pgflow.accepted_tasks;
  v_requeued int := 0;
begin
  for v_task in
    select
      run.run_id, state.step_slug, task.task_index, task.attempts_count, task.last_worker_id, task.started_at,
      task.requeued_count
    from pgflow.runs as run
    inner join pgflow.flows as flow on run.flow_slug = flow.flow_slug
    inner join pgflow.step_states as state on run.run_id = state.run_id
    inner join pgflow.step_tasks as task on state.run_id = task.run_id and state.step_slug = task.step_slug
    where
      run.completed_at is null and run.failed_at is null and run.cancelled_at is null
      and run.status = 'started'
      and state.status = 'started'
      and task.status = 'started'
      and task.permanently_stalled_at is null
      and task.started_at < now() - make_interval(secs => greatest(state.timeout, flow.opt_timeout) + 30)
    order by run.run_id, state.step_slug, task.task_index
    for update of task skip locked
    for key share of run skip locked
  loop
    v_stalled := pgflow._lock_held_tasks(
      array[v_task.run_id], array[v_task.step_slug], array[v_task.task_index], array[v_task.attempts_count]
    );
    continue when v_stalled.run_ids is null;  -- a task before it, stalled for good, has ended the run or the step
    if v_task.requeued_count >= 3 then
      perform pgflow._stall_for_good(v_task.run_id, v_task.step_slug, v_task.task_index);
      continue;
    end if;
    v_stalled := pgflow._unfold_batches(v_stalled);
    update pgflow.step_tasks as task
    set
      status = 'queued', started_at = null, last_worker_id = null,
      requeued_count = task.requeued_count + 1, last_requeued_at = now()
    from unnest(v_stalled.ctids) as stalled (place)
    where task.ctid = stalled.place;
    insert into pgflow.attempts (run_id, step_slug, task_index, attempt, worker_id, started_at, outcome, error)
    select
      stalled.run_id, stalled.step_slug, stalled.task_index, stalled.attempt, v_task.last_worker_id, v_task.started_at,
      'requeued', 'Started for longer than its timeout.'
    from unnest(v_stalled.run_ids, v_stalled.step_slugs, v_stalled.task_indexes, v_stalled.attempts)
      as stalled (run_id, step_slug, task_index, attempt);
    perform pgflow._put_back(
      v_stalled.queue_names, v_stalled.message_ids, array_fill(0::real, array[cardinality(v_stalled.run_ids)])
    );
    perform pgflow._send_retries(v_stalled, array_fill(0::real, array[cardinality(v_stalled.run_ids)]));
    v_requeued := v_requeued + cardinality(v_stalled.run_ids);
  end loop;
  return v_requeued;
end
$$;

comment on function pgflow.requeue_stalled_tasks() is 'Requeue tasks that run for longer than their timeout; returns how many.';
