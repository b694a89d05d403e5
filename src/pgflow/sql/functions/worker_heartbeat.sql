-- Note that a worker lives. Returns true when it is deprecated and should stop; null when it is not registered.
create or replace function pgflow.worker_heartbeat(worker_id uuid)
returns boolean
language sql
set search_path = ''
as $$
  update pgflow.workers as worker
  set last_heartbeat_at = clock_timestamp()
  where worker.worker_id = worker_heartbeat.worker_id
  returning worker.deprecated_at is not null
$$;

comment on function pgflow.worker_heartbeat(uuid) is 'Set the heartbeat of a worker; true asks it to stop.';
