-- Put together the output of a step whose tasks are over: that of its only task, or the array of a map's outputs in the
-- order of its items, null for an item that failed. Null where the parts are too large for one value.
create or replace function pgflow._step_output(p_state pgflow.step_states)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
begin
  if p_state.step_type = 'single' then
    return (
      select task.output from pgflow.step_tasks as task
      where task.run_id = p_state.run_id and task.step_slug = p_state.step_slug and task.task_index = 0
    );
  end if;
  if p_state.output_bytes > pgflow._max_aggregate_bytes() then
    return null;
  end if;
  if p_state.batch_size > 1 then
    return (
      select jsonb_agg(item.output order by item.task_index)
      from pgflow.step_tasks as task
      cross join lateral pgflow._item_outputs(task) as item
      where task.run_id = p_state.run_id and task.step_slug = p_state.step_slug
    );
  end if;
  return (
    select jsonb_agg(case when task.status = 'completed' then task.output end order by task.task_index)
    from pgflow.step_tasks as task
    where task.run_id = p_state.run_id and task.step_slug = p_state.step_slug
  );
end
$$;

comment on function pgflow._step_output(pgflow.step_states) is 'The output of a step from its tasks.';
