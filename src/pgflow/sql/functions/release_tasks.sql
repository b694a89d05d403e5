-- Hand tasks back that a worker holds but will not run: queued again, due after so many seconds, without spending an
-- attempt. The fence moves on all the same with the next grant. Locks: the runs shared,
-- the tasks, then the messages.
create or replace function pgflow.release_tasks(
  run_ids uuid[], step_slugs text[], task_indexes integer[], attempts integer[], delay integer default 0
)
returns setof pgflow.task_report
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
as $$
declare
  v_held pgflow.accepted_tasks;
  v_delays real[];
begin
  perform pgflow._lock_runs(run_ids, '{}');
  v_held := pgflow._lock_held_tasks(run_ids, step_slugs, task_indexes, release_tasks.attempts);
  insert into pgflow.attempts (run_id, step_slug, task_index, attempt, worker_id, started_at, outcome)
  select
    task.run_id, task.step_slug, task.task_index, task.attempts_count, task.last_worker_id, task.started_at, 'released'
  from unnest(v_held.ctids) as held (place)
  inner join pgflow.step_tasks as task on held.place = task.ctid;
  update pgflow.step_tasks as task
  set status = 'queued', started_at = null, released_count = task.released_count + 1
  from unnest(v_held.ctids) as held (place)
  where task.ctid = held.place;
  v_delays := array_fill(delay::real, array[coalesce(cardinality(v_held.message_ids), 0)]);
  perform pgflow._put_back(v_held.queue_names, v_held.message_ids, v_delays);
  perform pgflow._send_retries(v_held, v_delays);
  return query
  select * from pgflow._report_outcomes(run_ids, step_slugs, task_indexes, release_tasks.attempts, v_held, '{}');
end
$$;

comment on function pgflow.release_tasks(uuid[], text[], integer[], integer[], integer) is
'Give running tasks back to their queue without counting the attempt.';
