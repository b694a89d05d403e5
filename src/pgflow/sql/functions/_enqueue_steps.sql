-- Create the tasks of steps that have just started and their messages, in the order given, queue by queue, and wake the
-- workers of each queue once. A map beyond _max_slice() tasks gets only its first slice now; claims continue it. With a
-- taker, tasks that it may run are granted to it at once, their messages hidden for its lease; nobody is woken for
-- those. Returns them. Locks: none but the new rows'.
create or replace function pgflow._enqueue_steps(p_steps pgflow.step_states[], p_taker pgflow.taker default null)
returns pgflow.granted_task[]
language plpgsql
set search_path = ''
as $$
declare
  v_queue record;
  v_queued int;
  v_taker pgflow.taker := p_taker;
  v_granted pgflow.granted_task[];
  v_all pgflow.granted_task[] := '{}';
begin
  if cardinality(p_steps) = 1 and p_steps[1].step_type = 'single' then
    return array_remove(array[pgflow._enqueue_single(
      p_steps[1].run_id, p_steps[1].flow_slug, p_steps[1].step_slug, p_steps[1].deps,
      coalesce(p_steps[1].queue_name, p_steps[1].flow_slug), p_steps[1].start_delay, p_steps[1].started_at,
      p_steps[1].max_attempts, p_steps[1].timeout, p_steps[1].last_fence, p_taker
    )], null);
  end if;
  for v_queue in
    select
      coalesce((given.step).queue_name, (given.step).flow_slug) as name, array_agg(given.step order by given.place) as steps,
      array_agg(pgflow._slice_end(given.step, 0) order by given.place) as ends,
      bool_or(pgflow._slice_end(given.step, 0) < (given.step).initial_tasks) as is_sliced
    from (select step, row_number() over () as place from unnest(p_steps) as step) as given
    group by 1
    order by 1
  loop
    if v_queue.is_sliced then
      insert into pgflow.fan_outs (run_id, step_slug, queue_name, next_index)
      select step.run_id, step.step_slug, v_queue.name, v_queue.ends[step.ordinality]
      from unnest(v_queue.steps) with ordinality as step
      where v_queue.ends[step.ordinality] < step.initial_tasks;
    end if;
    select * into v_granted, v_queued
    from pgflow._enqueue_tasks(
      v_queue.name, v_queue.steps, array_fill(0, array[cardinality(v_queue.steps)]), v_queue.ends, v_taker
    );
    if v_queued > 0 then
      perform pg_notify('pgflow_wake', v_queue.name);
    end if;
    if v_granted is not null then
      v_all := v_all || v_granted;
      v_taker.qty := v_taker.qty - cardinality(v_granted);
    end if;
  end loop;
  return v_all;
end
$$;

comment on function pgflow._enqueue_steps(pgflow.step_states[], pgflow.taker) is
'Create the tasks of started steps, and grant to a worker what it takes at once.';
