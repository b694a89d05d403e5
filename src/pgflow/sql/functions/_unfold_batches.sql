-- Turn the batches among some held tasks into tasks of their own, one an item: in the same state, under the same fence,
-- with the same attempts used up. The first item keeps the batch's row and message; the others have none yet
-- (_send_retries). Returns what is held afterwards; an item has its batch's position. The caller holds the batches, and
-- shares the lock on their runs, so that nobody deletes them meanwhile. Locks: none but the new rows'.
create or replace function pgflow._unfold_batches(p_held pgflow.accepted_tasks)
returns pgflow.accepted_tasks
language plpgsql
set search_path = ''
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
as $$
declare
  v_keys pgflow.accepted_tasks;
  v_held pgflow.accepted_tasks;
begin
  if coalesce(array_remove(p_held.items, null), '{}') = '{}' then
    return p_held;
  end if;
  select
    array_agg(held.run_id), array_agg(held.step_slug), array_agg(held.first + number), array_agg(held.attempt),
    array_agg(held.position)
  into v_keys.run_ids, v_keys.step_slugs, v_keys.task_indexes, v_keys.attempts, v_keys.positions
  from unnest(
    p_held.run_ids, p_held.step_slugs, p_held.task_indexes, p_held.attempts, p_held.positions, p_held.items
  ) as held (run_id, step_slug, first, attempt, position, items)
  cross join lateral generate_series(0, coalesce(held.items, 1) - 1) as number;

  insert into pgflow.step_tasks (
    flow_slug, run_id, step_slug, task_index, status, attempts_count, released_count, requeued_count, last_requeued_at,
    queued_at, started_at, last_worker_id, input, losses
  )
  select
    batch.flow_slug, batch.run_id, batch.step_slug, batch.task_index + item.position - 1, batch.status,
    batch.attempts_count, batch.released_count, batch.requeued_count, batch.last_requeued_at, batch.queued_at,
    batch.started_at, batch.last_worker_id, item.input, batch.losses
  from unnest(p_held.ctids) as held (place)
  inner join pgflow.step_tasks as batch on held.place = batch.ctid
  cross join lateral jsonb_array_elements(batch.input) with ordinality as item (input, position)
  where batch.items is not null and item.position > 1;
  update pgflow.step_tasks as task
  set items = null, input = task.input -> 0
  from unnest(p_held.ctids) as held (place)
  where task.ctid = held.place and task.items is not null;

  v_held := pgflow._lock_held_tasks(v_keys.run_ids, v_keys.step_slugs, v_keys.task_indexes, v_keys.attempts);
  v_held.positions := array(
    select v_keys.positions[held.position]
    from unnest(v_held.positions) with ordinality as held (position, number)
    order by held.number
  );
  return v_held;
end
$$;

comment on function pgflow._unfold_batches(pgflow.accepted_tasks) is
'Replace held batches by tasks of their items; returns all that is held then.';
