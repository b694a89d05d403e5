-- Claim up to so many due tasks of a queue for a worker: read messages, hide them for the lease, grant their tasks. The
-- message's visibility is the lease; a message that is visible while its task is started is the recovery of a worker
-- that died. Reads by visibility time, so messages that are not due cost nothing. Messages that grant nothing are put
-- right by _settle_messages. Never waits for another session. Locks: the worker's row, messages and tasks that are free.
create or replace function pgflow.claim_tasks(
  queue_name text, worker_id uuid, qty integer, lease integer default 30, handlers text[] default null
)
returns setof pgflow.granted_task
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
  v_now timestamptz := clock_timestamp();
  v_steps text[];
  v_msg_ids bigint[];
  v_messages jsonb[];
  v_granted pgflow.granted_task[];
begin
  perform 1 from pgflow.workers as worker where worker.worker_id = claim_tasks.worker_id for key share;
  if not found then
    raise exception 'Worker % is not registered', claim_tasks.worker_id
      using errcode = 'foreign_key_violation', hint = 'Call pgflow.register_worker first.';
  end if;
  if claim_tasks.handlers is not null then
    v_steps := array(select split_part(handler, '(', 1) from unnest(claim_tasks.handlers) as handler);
  end if;
  execute format(
    $sql$
    with hidden as (
      update pgmq.%1$I as message
      set vt = $1 + make_interval(secs => $4), read_ct = message.read_ct + 1
      where message.msg_id = any(array(
        select due.msg_id from pgmq.%1$I as due
        where
          due.vt <= $1
          and ($2 is null or coalesce((due.message ->> 'flow_slug') || '.' || (due.message ->> 'step_slug') = any($2), true))
        order by due.vt
        limit $3
        for update skip locked
      ))
      returning message.msg_id, message.message
    )
    select array_agg(hidden.msg_id), array_agg(hidden.message) from hidden
    $sql$,
    pgmq.format_table_name(claim_tasks.queue_name, 'q')
  )
  into v_msg_ids, v_messages
  using
    v_now, v_steps, claim_tasks.qty, claim_tasks.lease;
  if v_msg_ids is null then
    return;
  end if;

  select array_agg(granted) into v_granted
  from pgflow._grant_tasks(v_msg_ids, v_messages, claim_tasks.worker_id, true, claim_tasks.handlers) as granted;
  if exists (select 1 from unnest(v_granted) as granted where granted.recovered and granted.items is not null) then
    v_granted := pgflow._split_grants(v_granted, false);
  end if;
  if coalesce(cardinality(v_granted), 0) < cardinality(v_msg_ids) then
    perform pgflow._settle_messages(
      claim_tasks.queue_name, v_msg_ids, v_messages,
      array(select granted.msg_id from unnest(v_granted) as granted)
    );
  end if;
  return query select * from unnest(v_granted);
end
$$;

comment on function pgflow.claim_tasks(text, uuid, integer, integer, text[]) is
'Grant due tasks of a queue to a registered worker for a lease of so many seconds; handlers name the steps it can run.';
