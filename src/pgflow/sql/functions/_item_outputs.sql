-- List the outputs of a task by item: its own, or for a batch one for each of its items; null for what did not complete.
create or replace function pgflow._item_outputs(p_task pgflow.step_tasks)
returns setof pgflow.task_output
language plpgsql
stable
rows 100
set search_path = ''
as $$
begin
  if p_task.items is not null and p_task.status = 'completed' then
    return query
    select (p_task.task_index + item.position - 1)::int, item.output
    from jsonb_array_elements(p_task.output) with ordinality as item (output, position);
  else
    return query
    select p_task.task_index + number, case when p_task.status = 'completed' then p_task.output end
    from generate_series(0, coalesce(p_task.items, 1) - 1) as number;
  end if;
end
$$;

comment on function pgflow._item_outputs(pgflow.step_tasks) is 'The index and the output of each item of a task.';
