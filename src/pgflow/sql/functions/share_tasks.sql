-- Note that a worker performs recovered tasks beside others: should it die, that does not tell which of them is to blame,
-- and the attempt does not count (_grant_tasks). Only the holder of the current fence can. Returns how many it was noted
-- for. Called before their handlers, and rarely. Locks: the tasks.
create or replace function pgflow.share_tasks(run_ids uuid[], step_slugs text[], task_indexes integer[], attempts integer[])
returns integer
language plpgsql
set search_path = ''
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
as $$
declare
  v_held pgflow.accepted_tasks := pgflow._lock_held_tasks(run_ids, step_slugs, task_indexes, share_tasks.attempts);
begin
  update pgflow.step_tasks as task
  set shared_attempt = task.attempts_count
  from unnest(v_held.ctids) as held (place)
  where task.ctid = held.place;
  return coalesce(cardinality(v_held.ctids), 0);
end
$$;

comment on function pgflow.share_tasks(uuid[], text[], integer[], integer[]) is
'Have the death of their worker not count against recovered tasks, which it performs beside others.';
