-- Complete one task of a single step, the common case of a run that has the system to itself: the same writes, in the
-- same order of locks, as _complete_batch makes for many, each by its key and without a set. It leaves to
-- _complete_batch, and changes nothing, whatever is not plain: maps, conditions, steps with many children, a run or
-- step that is over, a fence that is not current. Returns whether it was done, and what a taker was granted. Locks: the
-- run shared, the task, its message, the step, then the run for no key update; the children come under that.
create or replace function pgflow._complete_single(
  p_run_id uuid, p_step_slug text, p_task_index integer, p_attempt integer, p_output jsonb, p_taker pgflow.taker,
  out is_done boolean, out granted pgflow.granted_task[]
)
language plpgsql
set search_path = ''
as $$
declare
  v_step record;
  v_task record;
  v_run record;
begin
  is_done := false;
  granted := '{}';
  select state.flow_slug, state.children, state.started_at, coalesce(state.queue_name, state.flow_slug) as queue_name, state.redact
  into v_step
  from pgflow.step_states as state
  inner join pgflow.runs as run on state.run_id = run.run_id
  where
    state.run_id = p_run_id and state.step_slug = p_step_slug and state.step_type = 'single'
    and p_task_index = 0 and not state.feeds_map and cardinality(state.children) <= 3
    and not run.has_conditions and run.status = 'started'
  for key share of run;
  if not found then
    return;
  end if;
  update pgflow.step_tasks as task
  set status = 'completed', output = p_output, completed_at = greatest(now(), task.started_at)
  where
    task.run_id = p_run_id and task.step_slug = p_step_slug and task.task_index = 0 and task.status = 'started'
    and task.attempts_count = coalesce(p_attempt, task.attempts_count)
    and exists (
      select 1 from pgflow.step_states as state
      where state.run_id = p_run_id and state.step_slug = p_step_slug and state.status = 'started'
    )
  returning task.attempts_count, task.message_id, task.last_worker_id, task.started_at, task.completed_at into v_task;
  if not found then
    return;
  end if;
  is_done := true;
  if v_task.attempts_count > 1 then
    insert into pgflow.attempts (run_id, step_slug, task_index, attempt, worker_id, started_at, ended_at, outcome)
    values (
      p_run_id, p_step_slug, 0, v_task.attempts_count, v_task.last_worker_id, v_task.started_at, v_task.completed_at, 'completed'
    );
  end if;
  if v_task.message_id is not null then
    perform pgflow._archive(v_step.queue_name, array[v_task.message_id]);
  end if;
  update pgflow.step_states as state
  set
    status = 'completed', remaining_tasks = state.remaining_tasks - 1, completed_at = greatest(now(), state.started_at),
    output = p_output, output_bytes = state.output_bytes + coalesce(pg_column_size(p_output), 0)
  where state.run_id = p_run_id and state.step_slug = p_step_slug;
  perform 1 from pgflow.runs as run where run.run_id = p_run_id for no key update;
  update pgflow.runs as run
  set
    remaining_steps = greatest(run.remaining_steps - 1, 0),
    status = case when run.remaining_steps <= 1 then 'completed' else run.status end,
    completed_at = case when run.remaining_steps <= 1 then greatest(now(), run.started_at) end,
    output = case when run.remaining_steps <= 1 then pgflow._run_output(run.run_id) end
  where run.run_id = p_run_id
  returning run.status, run.completed_at, run.output into v_run;
  perform pgflow._emit(
    p_run_id, 'step:' || p_step_slug || ':completed',
    jsonb_build_object(
      'event_type', 'step:completed', 'run_id', p_run_id, 'flow_slug', v_step.flow_slug, 'step_slug', p_step_slug,
      'status', 'completed', 'completed_at', greatest(now(), v_step.started_at)
    ),
    'output', pgflow._redacted_output(p_step_slug, p_output, v_step.redact)
  );
  granted := pgflow._start_children(p_run_id, v_step.flow_slug, v_step.children, p_taker);
  if v_run.status = 'completed' then
    perform pgflow._emit(
      p_run_id, 'run:completed',
      jsonb_build_object(
        'event_type', 'run:completed', 'run_id', p_run_id, 'flow_slug', v_step.flow_slug,
        'status', 'completed', 'completed_at', v_run.completed_at
      ),
      'output', pgflow._redacted(v_run.output, v_step.redact)
    );
  end if;
end
$$;

comment on function pgflow._complete_single(uuid, text, integer, integer, jsonb, pgflow.taker) is
'Complete one task of a single step, if there is nothing special about it.';
