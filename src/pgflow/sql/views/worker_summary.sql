-- One row a worker: whether it lives, told by a heartbeat within 75 seconds (an idle worker sends one every
-- 25), and what it holds and has done.
create or replace view pgflow.worker_summary as
select
  worker.worker_id,
  worker.function_name,
  coalesce(worker.queue_names, array[worker.queue_name]) as queue_names,
  worker.hostname,
  worker.pid,
  worker.started_at,
  worker.last_heartbeat_at,
  worker.stopped_at,
  worker.deprecated_at,
  coalesce(tasks.tasks_started, 0) as tasks_started,
  coalesce(tasks.tasks_completed, 0) as tasks_completed,
  case
    when worker.stopped_at is not null then 'stopped'
    when worker.last_heartbeat_at < clock_timestamp() - interval '75 s' then 'dead'
    else 'running'
  end as status,
  extract(epoch from clock_timestamp() - worker.last_heartbeat_at)::float8 as heartbeat_age_seconds
from pgflow.workers as worker
left join (
  select
    task.last_worker_id,
    coalesce(sum(coalesce(task.items, 1)) filter (where task.status = 'started'), 0) as tasks_started,
    coalesce(sum(coalesce(task.items, 1)) filter (where task.status = 'completed'), 0) as tasks_completed
  from pgflow.step_tasks as task
  where task.last_worker_id is not null
  group by task.last_worker_id
) as tasks on worker.worker_id = tasks.last_worker_id;

comment on view pgflow.worker_summary is 'Workers, whether they live, and their share of the tasks.';
