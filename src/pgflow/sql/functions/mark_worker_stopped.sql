-- Note that a worker has stopped.
create or replace function pgflow.mark_worker_stopped(worker_id uuid)
returns void
language sql
set search_path = ''
as $$
  update pgflow.workers as worker
  set stopped_at = clock_timestamp()
  where worker.worker_id = mark_worker_stopped.worker_id
$$;

comment on function pgflow.mark_worker_stopped(uuid) is 'Set the time at which a worker stopped.';
