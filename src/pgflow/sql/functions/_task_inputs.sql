-- List the tasks of a started step for its items from p_first up to p_end (exclusively): one for a single step, so many
-- for a map of fixed size, and for a map over an array each element with its index, or a batch of them. An array is
-- taken apart once, or once a slice; no task ever looks at it again.
create or replace function pgflow._task_inputs(p_step pgflow.step_states, p_first integer, p_end integer)
returns setof pgflow.task_input
language plpgsql
stable
rows 100
set search_path = ''
as $$
declare
  v_items jsonb;
begin
  if p_step.step_type = 'single' or p_step.fixed_size then
    return query select index, null::jsonb, null::int from generate_series(p_first, p_end - 1) as index;
    return;
  end if;
  if p_step.deps = '{}' then
    select run.input into v_items from pgflow.runs as run where run.run_id = p_step.run_id;
  else
    v_items := pgflow._parent_items(p_step.run_id, p_step.deps[1], p_first, p_end);
  end if;
  if jsonb_array_length(v_items) > p_end - p_first then
    v_items := jsonb_path_query_array(
      v_items, '$[$first to $last]', jsonb_build_object('first', p_first, 'last', p_end - 1)
    );
  end if;
  if p_step.batch_size > 1 then
    return query
    select
      p_first + (element.position - 1)::int / p_step.batch_size * p_step.batch_size,
      jsonb_agg(element.value order by element.position), count(*)::int
    from jsonb_array_elements(v_items) with ordinality as element (value, position)
    group by 1;
  else
    return query
    select p_first + (element.position - 1)::int, element.value, null::int
    from jsonb_array_elements(v_items) with ordinality as element (value, position);
  end if;
end
$$;

comment on function pgflow._task_inputs(pgflow.step_states, integer, integer) is
'The index and the input of the tasks that a step needs for some of its items.';
