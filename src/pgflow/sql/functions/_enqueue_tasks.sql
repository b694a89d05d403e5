-- Create the tasks of steps that have just started, and their messages in one queue, in one statement. Message ids are
-- drawn from the queue's sequence first, in the order of the tasks, so that tasks and messages need no join.
create or replace function pgflow._enqueue_tasks(p_queue_name text, p_steps pgflow.step_states [])
returns void
language plpgsql
set search_path = ''
as $$
declare
  v_table text := format('pgmq.%I', pgmq.format_table_name(p_queue_name, 'q'));
begin
  execute format(
    $sql$
    with fresh as materialized (
      select nextval(%L) as msg_id, task.*
      from (
        select
          step.flow_slug, step.run_id, step.step_slug, item.task_index, item.input,
          $2 + make_interval(secs => coalesce(step.start_delay, 0)) as vt
        from unnest($1) with ordinality as step
        cross join lateral pgflow._task_inputs(
          step.run_id, step.step_type, step.deps, step.initial_tasks, step.fixed_size
        ) as item
        order by step.ordinality, item.task_index
      ) as task
    ),
    sent as (
      insert into %s (msg_id, vt, message) overriding system value
      select fresh.msg_id, fresh.vt, jsonb_build_object(
        'flow_slug', fresh.flow_slug, 'run_id', fresh.run_id,
        'step_slug', fresh.step_slug, 'task_index', fresh.task_index
      )
      from fresh
    )
    insert into pgflow.step_tasks (flow_slug, run_id, step_slug, task_index, message_id, input)
    select fresh.flow_slug, fresh.run_id, fresh.step_slug, fresh.task_index, fresh.msg_id, fresh.input
    from fresh
    $sql$,
    pg_get_serial_sequence(v_table, 'msg_id'), v_table
  )
  using p_steps, clock_timestamp();
end
$$;

comment on function pgflow._enqueue_tasks(text, pgflow.step_states []) is
'Create the tasks of started steps and send their messages to one queue.';
