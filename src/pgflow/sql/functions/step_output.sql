-- Read the outputs of a step's tasks in pages, in the order of its items: also those too large for one value. An item
-- that failed for good, under a policy that allows it, is null. Batches are unfolded, so a page may begin inside one.
create or replace function pgflow.step_output(
  run_id uuid, step_slug text, after_index integer default -1, max_rows integer default 1000
)
returns setof pgflow.task_output
language plpgsql
stable
set search_path = ''
as $$
declare
  v_batch_size int := (
    select state.batch_size from pgflow.step_states as state
    where state.run_id = step_output.run_id and state.step_slug = step_output.step_slug
  );
begin
  if v_batch_size > 1 then
    return query
    select * from pgflow._batched_output(
      step_output.run_id, step_output.step_slug, step_output.after_index, step_output.max_rows
    );
    return;
  end if;
  return query
  select task.task_index, case when task.status = 'completed' then task.output end
  from pgflow.step_tasks as task
  where
    task.run_id = step_output.run_id
    and task.step_slug = step_output.step_slug
    and task.task_index > step_output.after_index
    and task.status in ('completed', 'failed')
  order by task.task_index
  limit step_output.max_rows;
end
$$;

comment on function pgflow.step_output(uuid, text, integer, integer) is
'One page of the outputs of a step''s tasks, after the given index.';
