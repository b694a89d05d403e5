-- Find the messages of a queue that are no unfinished task's, and those whose lease ran out five minutes ago without
-- anybody claiming them anew. With null all messages are looked at, else those that name one of some runs. Takes no
-- locks.
create or replace function pgflow._check_messages(p_queue_name text, p_run_ids uuid[])
returns setof pgflow.invariant_finding
language plpgsql
stable
set search_path = ''
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
  v_table regclass := to_regclass(format('pgmq.%I', pgmq.format_table_name(p_queue_name, 'q')));
begin
  if v_table is null then
    return;
  end if;
  return query execute format(
    $sql$
    select
      verdict.invariant, case verdict.invariant when 'expired_lease' then 'warning' else 'error' end,
      named.run_id, named.step_slug, named.task_index, $1, message.msg_id,
      case verdict.invariant
        when 'message_without_task' then 'The message belongs to no task.'
        when 'message_of_finished_run' then format('The run is %%s, but has a live message.', run.status)
        when 'duplicate_message' then format('The message of the task is %%s.', task.message_id)
        when 'message_of_finished_task' then format('The task is %%s, its step is %%s.', task.status, state.status)
        else format('The lease ran out at %%s, and nobody has claimed the task since.', message.vt)
      end,
      case verdict.invariant
        when 'expired_lease' then 'Start a worker that serves the queue and has the step''s handler.'
        else 'select pgflow.mend_invariants(); or a worker''s next claim that reads it.'
      end,
      verdict.invariant <> 'expired_lease'
    from %s as message
    cross join lateral pgflow._task_messages(array[message.msg_id], array[message.message]) as named
    left join pgflow.runs as run on named.run_id = run.run_id
    left join pgflow.step_states as state on named.run_id = state.run_id and named.step_slug = state.step_slug
    left join pgflow.step_tasks as task
      on named.run_id = task.run_id and named.step_slug = task.step_slug and named.task_index = task.task_index
    cross join lateral (select pgflow._message_verdict(run, state, task, message.msg_id, message.vt)) as verdict (invariant)
    where ($2::text[] is null or message.message ->> 'run_id' = any($2)) and verdict.invariant is not null
    $sql$, v_table
  ) using p_queue_name, p_run_ids::text[];
end
$$;

comment on function pgflow._check_messages(text, uuid[]) is 'What is wrong with the messages of one queue.';
