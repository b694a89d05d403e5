-- Create the tasks of steps that have just started, and their messages in one queue. Message ids are drawn from the
-- queue's sequence in the order of the tasks, so that tasks and messages need no join; all but the bare insert into the
-- queue's table keeps its plan.
create or replace function pgflow._enqueue_tasks(p_queue_name text, p_steps pgflow.step_states[])
returns void
language plpgsql
set search_path = ''
as $$
declare
  v_table text := format('pgmq.%I', pgmq.format_table_name(p_queue_name, 'q'));
  v_sequence regclass := pg_get_serial_sequence(v_table, 'msg_id');
  v_now timestamptz := clock_timestamp();
  v_msg_ids bigint[];
  v_times timestamptz[];
  v_messages jsonb[];
begin
  with fresh as materialized (
    select nextval(v_sequence) as msg_id, task.*
    from (
      select step.flow_slug, step.run_id, step.step_slug, step.start_delay, item.task_index, item.input, item.items
      from unnest(p_steps) with ordinality as step
      cross join lateral pgflow._task_inputs(
        step.run_id, step.step_type, step.deps, step.initial_tasks, step.fixed_size, step.batch_size
      ) as item
      order by step.ordinality, item.task_index
    ) as task
  ),
  created as (
    insert into pgflow.step_tasks (flow_slug, run_id, step_slug, task_index, message_id, input, items)
    select fresh.flow_slug, fresh.run_id, fresh.step_slug, fresh.task_index, fresh.msg_id, fresh.input, fresh.items
    from fresh
  )
  select
    array_agg(fresh.msg_id), array_agg(v_now + make_interval(secs => coalesce(fresh.start_delay, 0))),
    array_agg(jsonb_build_object(
      'flow_slug', fresh.flow_slug, 'run_id', fresh.run_id,
      'step_slug', fresh.step_slug, 'task_index', fresh.task_index
    ))
  into v_msg_ids, v_times, v_messages
  from fresh;
  execute format(
    'insert into %s (msg_id, vt, message) overriding system value select * from unnest($1, $2, $3)', v_table
  )
  using v_msg_ids, v_times, v_messages;
end
$$;

comment on function pgflow._enqueue_tasks(text, pgflow.step_states[]) is
'Create the tasks of started steps and send their messages to one queue.';
