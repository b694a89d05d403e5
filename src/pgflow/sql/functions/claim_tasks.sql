-- Claim up to so many due tasks of a queue for a worker: read messages, hide them for the lease, grant their tasks. The
-- message's visibility is the lease; a message that is visible while its task is started is the recovery of a worker
-- that died. Reads by visibility time, so messages that are not due cost nothing, and from both ends: three quarters of
-- those due longest, the rest of the latest, so that what is new does not wait behind a backlog. Messages that grant
-- nothing are put right by _settle_messages. A claim also creates the next slice of a large map, before it runs dry.
-- Waits for nobody, but for the worker's row while a prune deletes it. A claim that finds nothing writes nothing.
-- Locks: a slice's row, messages that are free, the worker's row, tasks that are free.
create or replace function pgflow.claim_tasks(
  queue_name text, worker_id uuid, qty integer, lease integer default 30, handlers text[] default null
)
returns setof pgflow.granted_task
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
as $$
declare
  v_now timestamptz := clock_timestamp();
  v_steps text[];
  v_newest int := case when claim_tasks.qty = 1 then round(random()) else ceil(claim_tasks.qty / 4.0) end;
  v_read pgflow.read_messages;
  v_granted pgflow.granted_task[];
begin
  perform 1 from pgflow.workers as worker where worker.worker_id = claim_tasks.worker_id;
  if not found then
    perform pgflow._refuse_worker(claim_tasks.worker_id);
  end if;
  if claim_tasks.handlers is not null then
    v_steps := array(select split_part(handler, '(', 1) from unnest(claim_tasks.handlers) as handler);
  end if;
  if exists (
    select 1 from pgflow.fan_outs as fan_out where fan_out.queue_name = claim_tasks.queue_name and not fan_out.paused
  ) then
    perform pgflow._continue_fan_out(claim_tasks.queue_name);
  end if;
  execute 'select * from ' || pgflow._queue_function(claim_tasks.queue_name, 'read') || '($1, $2, $3, $4, $5)'
  into v_read
  using v_now, claim_tasks.lease, claim_tasks.qty - v_newest, v_newest, v_steps;
  if v_read.msg_ids is null then
    return;
  end if;
  perform 1 from pgflow.workers as worker where worker.worker_id = claim_tasks.worker_id for key share;
  if not found then
    perform pgflow._refuse_worker(claim_tasks.worker_id);
  end if;

  if cardinality(v_read.msg_ids) = 1 then
    v_granted[1] := pgflow._grant_single(
      v_read.msg_ids[1], v_read.messages[1], claim_tasks.worker_id, claim_tasks.handlers
    );
    if v_granted[1].run_id is not null then
      return query select * from unnest(v_granted);
      return;
    end if;
  end if;
  select array_agg(granted) into v_granted
  from pgflow._grant_tasks(v_read.msg_ids, v_read.messages, claim_tasks.worker_id, true, claim_tasks.handlers) as granted;
  if exists (select 1 from unnest(v_granted) as granted where granted.recovered and granted.items is not null) then
    v_granted := pgflow._split_grants(v_granted, false);
  end if;
  if coalesce(cardinality(v_granted), 0) < cardinality(v_read.msg_ids) then
    perform pgflow._settle_messages(
      claim_tasks.queue_name, v_read.msg_ids, v_read.messages,
      array(select granted.msg_id from unnest(v_granted) as granted)
    );
  end if;
  return query select * from unnest(v_granted);
end
$$;

comment on function pgflow.claim_tasks(text, uuid, integer, integer, text[]) is
'Grant due tasks of a queue to a registered worker for a lease of so many seconds; handlers name the steps it can run.';
