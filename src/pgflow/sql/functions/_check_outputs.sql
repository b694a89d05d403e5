-- Check that outputs are complete: those of completed batches have a value for each item, those of completed steps are
-- put together from their tasks', those of completed runs from their steps'. Takes no locks.
create or replace function pgflow._check_outputs(p_run_ids uuid[])
returns setof pgflow.invariant_finding
language plpgsql
stable
set search_path = ''
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
as $$
begin
  return query
  select
    'run_output', 'error', run.run_id, null::text, null::int, null::text, null::bigint,
    'The output is not put together from those of the run''s last steps.',
    format('update pgflow.runs set output = pgflow._run_output(run_id) where run_id = %L;', run.run_id), false
  from unnest(p_run_ids) as checked (run_id)
  inner join pgflow.runs as run on checked.run_id = run.run_id
  where run.status = 'completed' and run.output is distinct from pgflow._run_output(run.run_id);
  return query
  select
    'step_output', 'error', state.run_id, state.step_slug, null::int, coalesce(state.queue_name, state.flow_slug),
    null::bigint, 'The output is not put together from those of the step''s tasks.',
    format(
      'update pgflow.step_states as s set output = pgflow._step_output(s) where run_id = %L and step_slug = %L;',
      state.run_id, state.step_slug
    ), false
  from unnest(p_run_ids) as checked (run_id)
  inner join pgflow.step_states as state on checked.run_id = state.run_id
  where
    state.status = 'completed' and state.initial_tasks > 0
    and state.output is distinct from pgflow._step_output(state);
  return query
  select
    'batch_output', 'error', task.run_id, task.step_slug, task.task_index, null::text, null::bigint,
    format('The task carries %s items, but its output is not an array of so many.', task.items),
    'Restore the output, or start the run anew.', false
  from unnest(p_run_ids) as checked (run_id)
  inner join pgflow.step_tasks as task on checked.run_id = task.run_id
  where
    task.status = 'completed' and task.items is not null
    and case when jsonb_typeof(task.output) = 'array' then jsonb_array_length(task.output) end is distinct from task.items;
end
$$;

comment on function pgflow._check_outputs(uuid[]) is 'What is missing in the outputs of some runs.';
