-- Read one page of the outputs of a map that works in batches: from the task on that holds the item after the given
-- index, until there are enough items.
create or replace function pgflow._batched_output(
  p_run_id uuid, p_step_slug text, p_after_index integer, p_max_rows integer
)
returns setof pgflow.task_output
language plpgsql
stable
set search_path = ''
as $$
declare
  v_task pgflow.step_tasks;
  v_rows int;
  v_left int := p_max_rows;
begin
  for v_task in
    select task.* from pgflow.step_tasks as task
    where
      task.run_id = p_run_id and task.step_slug = p_step_slug and task.status in ('completed', 'failed')
      and task.task_index >= coalesce((
        select max(first.task_index) from pgflow.step_tasks as first
        where first.run_id = p_run_id and first.step_slug = p_step_slug and first.task_index <= p_after_index + 1
      ), 0)
    order by task.task_index
  loop
    exit when v_left <= 0;
    return query
    select item.task_index, item.output
    from pgflow._item_outputs(v_task) as item
    where item.task_index > p_after_index
    order by item.task_index
    limit v_left;
    get diagnostics v_rows = row_count;
    v_left := v_left - v_rows;
  end loop;
end
$$;

comment on function pgflow._batched_output(uuid, text, integer, integer) is
'One page of the outputs, by item, of a map that works in batches.';
