-- Remember a worker deployment by its name, and that it has started again.
create or replace function pgflow.track_worker_function(function_name text)
returns void
language sql
set search_path = ''
as $$
  insert into pgflow.worker_functions as worker_function (function_name, updated_at)
  values (track_worker_function.function_name, clock_timestamp())
  on conflict on constraint worker_functions_pkey do update set updated_at = clock_timestamp()
$$;

comment on function pgflow.track_worker_function(text) is 'Insert a worker function, or set its updated_at.';
