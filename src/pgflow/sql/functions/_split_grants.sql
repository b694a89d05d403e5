-- Take granted batches apart, so that their holder gets the first item of each, and the others wait to be granted on
-- their own: batches that came back from a worker that died, one item of which may have killed it, or all of them for
-- workers that know no batches. The others have the attempts that were used up before this grant; a lost one is on
-- record for each item. A batch whose attempts are used up stays whole, and so does one whose run another session holds
-- exclusively. Never waits. Locks: the runs shared, as far as they are free; the caller holds the tasks.
create or replace function pgflow._split_grants(p_granted pgflow.granted_task[], p_all boolean)
returns pgflow.granted_task[]
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
  v_free uuid[] := array(select granted.run_id from unnest(p_granted) as granted where granted.items is not null);
  v_chosen pgflow.granted_task[];
  v_lost pgflow.attempts[];
  v_items pgflow.accepted_tasks;
begin
  v_free := array(
    select run.run_id from pgflow.runs as run where run.run_id = any(v_free) for key share skip locked
  );
  v_chosen := array(
    select granted from unnest(p_granted) as granted
    where
      granted.items is not null and not granted.exhausted and (granted.recovered or p_all)
      and granted.run_id = any(v_free)
  );
  if v_chosen = '{}' then
    return p_granted;
  end if;
  v_lost := array(
    select (
      select known from pgflow.attempts as known
      where
        known.run_id = granted.run_id and known.step_slug = granted.step_slug
        and known.task_index = granted.task_index and known.attempt = granted.attempt - 1 and known.outcome = 'lost'
      limit 1
    )
    from unnest(v_chosen) with ordinality as granted
    order by granted.ordinality
  );
  v_items := pgflow._unfold_batches(pgflow._lock_held_tasks(
    array(select granted.run_id from unnest(v_chosen) as granted),
    array(select granted.step_slug from unnest(v_chosen) as granted),
    array(select granted.task_index from unnest(v_chosen) as granted),
    array(select granted.attempt from unnest(v_chosen) as granted)
  ));
  insert into pgflow.attempts (
    run_id, step_slug, task_index, attempt, worker_id, started_at, ended_at, outcome, error
  )
  select
    item.run_id, item.step_slug, item.task_index, lost.attempt, lost.worker_id, lost.started_at, lost.ended_at,
    lost.outcome, lost.error
  from unnest(v_items.run_ids, v_items.step_slugs, v_items.task_indexes, v_items.message_ids, v_items.positions)
    as item (run_id, step_slug, task_index, message_id, position)
  cross join lateral unnest(v_lost[item.position:item.position]) as lost
  where item.message_id is null and lost.attempt is not null;
  update pgflow.step_tasks as task
  set status = 'queued', started_at = null, attempts_count = task.attempts_count - 1, last_worker_id = null
  from unnest(v_items.ctids, v_items.message_ids) as item (place, message_id)
  where task.ctid = item.place and item.message_id is null;
  perform pgflow._send_retries(v_items, array_fill(0::real, array[cardinality(v_items.run_ids)]));

  return array(
    select case when granted = any(v_chosen) then pgflow._first_item(granted) else granted end
    from unnest(p_granted) as granted
  );
end
$$;

comment on function pgflow._split_grants(pgflow.granted_task[], boolean) is
'Take recovered batches, or all, among granted tasks apart; their first items stay granted.';
