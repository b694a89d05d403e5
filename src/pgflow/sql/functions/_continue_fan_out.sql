-- Create the next slice of a large map, of any one in a queue when it is about to run dry, or of a given step when
-- nothing of it is left to do: then nobody claims it as we do. A map whose run or step is over pauses, until a retry.
-- Never waits. Locks: the slice's row and the run (shared), if they are free.
create or replace function pgflow._continue_fan_out(
  p_queue_name text, p_run_id uuid default null, p_step_slug text default null
)
returns void
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
  v_fan_out pgflow.fan_outs;
  v_step pgflow.step_states;
  v_reserve int := case when p_run_id is null then pgflow._max_slice() / 2 else 1 end;
  v_end int;
begin
  select fan_out.* into v_fan_out from pgflow.fan_outs as fan_out
  where
    fan_out.queue_name = p_queue_name and not fan_out.paused
    and (p_run_id is null or (fan_out.run_id = p_run_id and fan_out.step_slug = p_step_slug))
  order by random()
  limit 1
  for update skip locked;
  if not found then
    return;
  end if;
  perform 1 from pgflow.runs as run where run.run_id = v_fan_out.run_id for key share skip locked;
  if not found then
    return;
  end if;
  select state.* into v_step
  from pgflow.step_states as state
  inner join pgflow.runs as run on state.run_id = run.run_id
  where
    state.run_id = v_fan_out.run_id and state.step_slug = v_fan_out.step_slug
    and state.status = 'started' and run.status = 'started';
  if not found then
    update pgflow.fan_outs as fan_out set paused = true
    where fan_out.run_id = v_fan_out.run_id and fan_out.step_slug = v_fan_out.step_slug;
  elsif v_fan_out.next_index - (v_step.initial_tasks - v_step.remaining_tasks)
    < v_reserve * coalesce(v_step.batch_size, 1)
  then
    v_end := pgflow._slice_end(v_step, v_fan_out.next_index);
    perform pgflow._enqueue_tasks(p_queue_name, array[v_step], array[v_fan_out.next_index], array[v_end], null);
    update pgflow.fan_outs as fan_out set next_index = v_end
    where fan_out.run_id = v_fan_out.run_id and fan_out.step_slug = v_fan_out.step_slug;
    delete from pgflow.fan_outs as fan_out
    where
      fan_out.run_id = v_fan_out.run_id and fan_out.step_slug = v_fan_out.step_slug and v_end >= v_step.initial_tasks;
    perform pg_notify('pgflow_wake', p_queue_name);
  end if;
end
$$;

comment on function pgflow._continue_fan_out(text, uuid, text) is 'Create the next slice of a large map.';
