-- Raise the error of a claim by a worker that has no row: it never registered, or a prune has deleted it.
create or replace function pgflow._refuse_worker(p_worker_id uuid)
returns void
language plpgsql
set search_path = ''
as $$
begin
  raise exception 'Worker % is not registered', p_worker_id
    using errcode = 'foreign_key_violation', hint = 'Call pgflow.register_worker first.';
end
$$;

comment on function pgflow._refuse_worker(uuid) is 'Raise: the worker is not registered.';
