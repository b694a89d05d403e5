-- List the tasks of a step that starts: one for a single step, so many for a map of fixed size, and for a map over an
-- array each element with its index. The array is taken apart once, here; no task ever looks at it again.
create or replace function pgflow._task_inputs(
  p_run_id uuid, p_step_type text, p_deps text[], p_initial_tasks integer, p_fixed_size boolean,
  p_batch_size integer default null
)
returns setof pgflow.task_input
language plpgsql
stable
rows 100
set search_path = ''
as $$
declare
  v_parent pgflow.step_states;
  v_array jsonb;
begin
  if p_step_type = 'single' or p_fixed_size then
    return query select index, null::jsonb, null::int from generate_series(0, p_initial_tasks - 1) as index;
    return;
  end if;
  if cardinality(p_deps) = 0 then
    select run.input into v_array from pgflow.runs as run where run.run_id = p_run_id;
  else
    select state.* into v_parent from pgflow.step_states as state
    where state.run_id = p_run_id and state.step_slug = p_deps[1];
    if v_parent.step_type = 'map' and v_parent.output is null then
      v_array := (
        select jsonb_agg(output.output order by output.task_index)
        from pgflow.step_output(p_run_id, v_parent.step_slug, -1, p_initial_tasks) as output
      );
    else
      v_array := v_parent.output;
    end if;
  end if;
  if p_batch_size > 1 then
    return query
    select
      (element.position - 1)::int / p_batch_size * p_batch_size, jsonb_agg(element.value order by element.position),
      count(*)::int
    from jsonb_array_elements(v_array) with ordinality as element (value, position)
    group by 1;
    return;
  end if;
  return query
  select (element.position - 1)::int, element.value, null::int
  from jsonb_array_elements(v_array) with ordinality as element (value, position);
end
$$;

comment on function pgflow._task_inputs(uuid, text, text[], integer, boolean, integer) is
'The index and the input of every task that a starting step needs.';
