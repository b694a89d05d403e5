-- Register a worker process under a fresh id before it claims. Repeating the call, as after a lost reply, is safe.
-- Refused to a role that is bound to a tenant: what it can't see it would take for messages of no task.
create or replace function pgflow.register_worker(
  worker_id uuid, queue_names text[], function_name text, hostname text default null, pid integer default null,
  info jsonb default null
)
returns void
language plpgsql
set search_path = ''
as $$
begin
  if pgflow._session_tenant() is not null then
    raise exception 'Role % is bound to tenant %, and a worker serves every tenant', session_user, pgflow._session_tenant()
      using errcode = 'insufficient_privilege', hint = 'Let workers log in as a role that is bound to none.';
  end if;
  insert into pgflow.workers (
    worker_id, queue_name, function_name, queue_names, hostname, pid, info, started_at, last_heartbeat_at
  )
  values (
    register_worker.worker_id, coalesce(register_worker.queue_names[1], ''), register_worker.function_name,
    register_worker.queue_names, register_worker.hostname, register_worker.pid, register_worker.info,
    clock_timestamp(), clock_timestamp()
  )
  on conflict on constraint workers_pkey do update set
    queue_name = excluded.queue_name, function_name = excluded.function_name, queue_names = excluded.queue_names,
    hostname = excluded.hostname, pid = excluded.pid, info = excluded.info,
    last_heartbeat_at = excluded.last_heartbeat_at, stopped_at = null;
end
$$;

comment on function pgflow.register_worker(uuid, text[], text, text, integer, jsonb) is
'Insert the row of a worker process, with the queues that it serves.';
