-- Take a batch of accepted reports off their steps' counters, one update a step, and finish the steps that reach zero; a
-- single step is complete with this update already, while a map's outputs are put together by a later statement.
-- Locks: the steps' rows by run and slug; _finish_steps goes on from there.
create or replace function pgflow._count_down(p_accepted pgflow.accepted_tasks)
returns void
language plpgsql
set search_path = ''
as $$
declare
  v_done record;
  v_remaining int;
  v_run_ids uuid[] := '{}';
  v_step_slugs text[] := '{}';
begin
  for v_done in
    select
      accepted.run_id, accepted.step_slug, sum(coalesce(accepted.items, 1)) as tasks, sum(accepted.bytes) as bytes
    from unnest(p_accepted.run_ids, p_accepted.step_slugs, p_accepted.bytes, p_accepted.items)
      as accepted (run_id, step_slug, bytes, items)
    group by accepted.run_id, accepted.step_slug
    order by accepted.run_id, accepted.step_slug
  loop
    update pgflow.step_states as state
    set
      remaining_tasks = state.remaining_tasks - v_done.tasks,
      output_bytes = state.output_bytes + v_done.bytes,
      status = case when state.step_type = 'single' then 'completed' else state.status end,
      completed_at = case when state.step_type = 'single' then greatest(now(), state.started_at) end,
      output = case when state.step_type = 'single' then pgflow._step_output(state) end
    where state.run_id = v_done.run_id and state.step_slug = v_done.step_slug
    returning state.remaining_tasks into v_remaining;
    if v_remaining = 0 then
      v_run_ids := v_run_ids || v_done.run_id;
      v_step_slugs := v_step_slugs || v_done.step_slug;
    end if;
  end loop;
  if v_run_ids <> '{}' then
    perform pgflow._finish_steps(v_run_ids, v_step_slugs);
  end if;
end
$$;

comment on function pgflow._count_down(pgflow.accepted_tasks) is
'Count steps down by their accepted tasks and finish those that have none left.';
