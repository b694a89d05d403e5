-- What a schedule needs beside the engine: a clock that can be put forward, and one look at everything that is stored.
-- Committed once in a database of the tests' own; the schedules are rolled back.
create schema model;

-- Put the clock forward by so many seconds: whatever has a time gets an earlier one.
create function model.forward(p_seconds integer) returns void language plpgsql as $$
declare
  v_back interval := make_interval(secs => p_seconds);
begin
  update pgmq.q_alpha set vt = vt - v_back;
  update pgmq.q_beta set vt = vt - v_back;
  update pgmq.q_side set vt = vt - v_back;
  update pgmq.a_alpha set archived_at = archived_at - v_back;
  update pgmq.a_beta set archived_at = archived_at - v_back;
  update pgmq.a_side set archived_at = archived_at - v_back;
  update pgflow.runs set
    started_at = started_at - v_back, completed_at = completed_at - v_back, failed_at = failed_at - v_back,
    cancelled_at = cancelled_at - v_back;
  update pgflow.step_tasks set
    queued_at = queued_at - v_back, started_at = started_at - v_back, completed_at = completed_at - v_back,
    failed_at = failed_at - v_back;
  update pgflow.workers set last_heartbeat_at = last_heartbeat_at - v_back;
  update pgflow.quarantined_messages set quarantined_at = quarantined_at - v_back;
end
$$;

-- Lengthen the delays of a few seconds that this statement has set, so that no schedule depends on its speed. Messages
-- that it has made due at once are new and belong to tasks which wait.
create function model.lengthen() returns void language plpgsql as $$
declare
  v_queue text;
begin
  foreach v_queue in array '{q_alpha,q_beta,q_side}'::text[] loop
    execute format(
      'update pgmq.%I as message set vt = message.vt + interval ''1000 s''
      where
        message.vt > statement_timestamp() and message.vt < statement_timestamp() + interval ''400 s''
        and (message.read_ct > 0 or exists (
          select 1 from pgflow.step_tasks as task
          where task.run_id = (message.message ->> ''run_id'')::uuid and task.message_id = message.msg_id
            and task.status = ''started''
        ))',
      v_queue
    );
  end loop;
end
$$;

create function model.resend() returns integer language plpgsql as $$
declare
  v_sent integer := pgflow.resend_lost_messages();
begin
  perform model.lengthen();
  return v_sent;
end
$$;

create function model.claim(
  p_queue text, p_worker uuid, p_qty integer, p_lease integer, p_handlers text[]
) returns setof pgflow.granted_task language plpgsql as $$
begin
  return query select * from pgflow.claim_tasks(p_queue, p_worker, p_qty, p_lease, p_handlers);
  perform model.lengthen();
end
$$;

-- Everything that is stored, as one JSON object of lists; times are seconds after the beginning of the transaction.
create function model.picture() returns text language sql as $$
  select jsonb_build_object(
    'elapsed', extract(epoch from clock_timestamp() - now()),
    'runs', (
      select coalesce(jsonb_agg(jsonb_build_array(
        run.run_id, run.status, run.flow_version, run.idempotency_key, run.remaining_steps, run.input,
        coalesce(run.output, '"SQL null"'), run.error_message, run.cancel_reason,
        extract(epoch from coalesce(run.completed_at, run.failed_at, run.cancelled_at) - now()),
        num_nonnulls(run.completed_at, run.failed_at, run.cancelled_at)
      )), '[]') from pgflow.runs as run
    ),
    'steps', (
      select coalesce(jsonb_agg(jsonb_build_array(
        state.run_id, state.step_slug, state.status, state.remaining_deps, state.initial_tasks, state.remaining_tasks,
        state.failed_tasks, coalesce(state.output, '"SQL null"'), state.error_message, state.skip_reason
      )), '[]') from pgflow.step_states as state
    ),
    'tasks', (
      select coalesce(jsonb_agg(jsonb_build_array(
        task.run_id, task.step_slug, task.task_index, task.status, task.attempts_count, task.released_count,
        task.requeued_count, task.permanently_stalled_at is not null, task.items, coalesce(task.input, '"SQL null"'),
        coalesce(task.output, '"SQL null"'), task.error_message, task.last_worker_id
      )), '[]') from pgflow.step_tasks as task
    ),
    'attempts', (
      select coalesce(jsonb_agg(jsonb_build_array(
        entry.run_id, entry.step_slug, entry.task_index, entry.attempt, entry.outcome, entry.error, entry.worker_id
      )), '[]') from pgflow.attempts as entry
    ),
    'messages', (
      select coalesce(jsonb_agg(jsonb_build_array(
        message.message ->> 'run_id', message.message ->> 'step_slug', (message.message ->> 'task_index')::int,
        message.queue, extract(epoch from message.vt - now()),
        exists (
          select 1 from pgflow.step_tasks as task
          where
            task.run_id = (message.message ->> 'run_id')::uuid and task.step_slug = message.message ->> 'step_slug'
            and task.task_index = (message.message ->> 'task_index')::int and task.message_id = message.msg_id
        )
      )), '[]')
      from (
        select 'alpha' as queue, msg_id, vt, message from pgmq.q_alpha
        union all select 'beta', msg_id, vt, message from pgmq.q_beta
        union all select 'side', msg_id, vt, message from pgmq.q_side
      ) as message
    ),
    'archive', (
      select coalesce(jsonb_agg(jsonb_build_array(
        message.message ->> 'run_id', message.message ->> 'step_slug', (message.message ->> 'task_index')::int,
        message.queue, extract(epoch from message.archived_at - now())
      )), '[]')
      from (
        select 'alpha' as queue, archived_at, message from pgmq.a_alpha
        union all select 'beta', archived_at, message from pgmq.a_beta
        union all select 'side', archived_at, message from pgmq.a_side
      ) as message
    ),
    'quarantine', (
      select coalesce(jsonb_agg(jsonb_build_array(
        quarantined.queue_name, quarantined.message ->> 'run_id', extract(epoch from quarantined.quarantined_at - now())
      )), '[]')
      from pgflow.quarantined_messages as quarantined
    ),
    'workers', (select coalesce(jsonb_agg(worker.worker_id), '[]') from pgflow.workers as worker)
  )
$$;
