-- Take a batch of accepted completions off their steps' counters, one update a step, and finish the steps that reach
-- zero; a single step is complete with this update already, while a map's outputs are put together by a later
-- statement. Several steps are locked first, in order, and found again by their places. Returns what a taker was
-- granted. Locks: the steps' rows by run and slug; _finish_steps goes on from there.
create or replace function pgflow._count_down(p_accepted pgflow.accepted_tasks, p_taker pgflow.taker default null)
returns pgflow.granted_task[]
language plpgsql
set search_path = ''
as $$
declare
  v_done pgflow.counted_step[];
  v_step pgflow.step_states;
  v_over pgflow.step_states[];
begin
  v_done := array(
    select (accepted.run_id, accepted.step_slug, sum(coalesce(accepted.items, 1)), sum(accepted.bytes))::pgflow.counted_step
    from unnest(p_accepted.run_ids, p_accepted.step_slugs, p_accepted.items, p_accepted.bytes)
      as accepted (run_id, step_slug, items, bytes)
    group by accepted.run_id, accepted.step_slug
    order by accepted.run_id, accepted.step_slug
  );
  if cardinality(v_done) = 1 then
    update pgflow.step_states as state
    set
      remaining_tasks = state.remaining_tasks - v_done[1].items,
      output_bytes = state.output_bytes + v_done[1].bytes,
      status = case when state.step_type = 'single' then 'completed' else state.status end,
      completed_at = case when state.step_type = 'single' then greatest(now(), state.started_at) end,
      output = case when state.step_type = 'single' then pgflow._step_output(state) end
    where state.run_id = v_done[1].run_id and state.step_slug = v_done[1].step_slug
    returning state.* into v_step;
    if v_step.remaining_tasks = 0 then
      v_over := array[v_step];
    elsif v_step.initial_tasks > pgflow._max_slice() then
      perform pgflow._continue_fan_out(coalesce(v_step.queue_name, v_step.flow_slug), v_step.run_id, v_step.step_slug);
    end if;
  else
    v_over := pgflow._count_steps(v_done);
    perform pgflow._continue_fan_out(fan_out.queue_name, fan_out.run_id, fan_out.step_slug)
    from unnest(v_done) as done
    cross join lateral (
      select * from pgflow.fan_outs as known
      where known.run_id = done.run_id and known.step_slug = done.step_slug
      offset 0
    ) as fan_out;
  end if;
  if v_over is null then
    return '{}';
  end if;
  return pgflow._finish_steps(v_over, p_taker);
end
$$;

comment on function pgflow._count_down(pgflow.accepted_tasks, pgflow.taker) is
'Count steps down by their accepted tasks and finish those that have none left.';
