-- Recompute from the rows themselves what the counters of a step should say, in items: how many its tasks carry, of
-- these completed and failed for good, and how many there should be by now; and how many of its parents are not over.
-- Called by _check_steps. Takes no locks.
create or replace function pgflow._step_facts(
  p_state pgflow.step_states, p_run_input jsonb,
  out items bigint, out last_item bigint, out completed bigint, out failed bigint, out size bigint, out created bigint,
  out open_parents bigint, out has_paused boolean
)
language plpgsql
stable
set search_path = ''
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
as $$
begin
  if p_state.deps <> '{}' then
    select
      count(*) filter (where parent.status not in ('completed', 'skipped')),
      max(case
        when parent.status = 'skipped' then 0
        when parent.step_type = 'map' then parent.initial_tasks
        when parent.feeds_map and jsonb_typeof(parent.output) = 'array' then jsonb_array_length(parent.output)
      end)
    into open_parents, size
    from pgflow.step_states as parent
    where parent.run_id = p_state.run_id and parent.step_slug = any(p_state.deps);
  else
    open_parents := 0;
  end if;
  if p_state.status not in ('started', 'completed') then
    return;
  end if;
  select
    coalesce(sum(coalesce(task.items, 1)), 0), coalesce(max(task.task_index + coalesce(task.items, 1)), 0),
    coalesce(sum(coalesce(task.items, 1)) filter (where task.status = 'completed'), 0),
    coalesce(sum(coalesce(task.items, 1)) filter (
      where task.status = 'failed' or (task.status = 'started' and task.permanently_stalled_at is not null)
    ), 0)
  into items, last_item, completed, failed
  from pgflow.step_tasks as task
  where task.run_id = p_state.run_id and task.step_slug = p_state.step_slug;
  size := case
    when p_state.step_type = 'single' then 1
    when p_state.fixed_size then p_state.initial_tasks
    when p_state.deps <> '{}' then size
    when jsonb_typeof(p_run_input) = 'array' then jsonb_array_length(p_run_input)
  end;
  if p_state.step_type = 'map' then
    select fan_out.next_index, fan_out.paused into created, has_paused
    from pgflow.fan_outs as fan_out
    where fan_out.run_id = p_state.run_id and fan_out.step_slug = p_state.step_slug;
  end if;
  created := coalesce(created, p_state.initial_tasks);
end
$$;

comment on function pgflow._step_facts(pgflow.step_states, jsonb) is 'What the counters of a step should say.';
