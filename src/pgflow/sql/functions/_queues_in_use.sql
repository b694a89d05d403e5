-- Name the queues that flows, or some runs, use; they need not exist any more. Takes no locks.
create or replace function pgflow._queues_in_use(p_run_ids uuid[])
returns setof text
language plpgsql
stable
set search_path = ''
as $$
begin
  return query
  select pgflow._queue_name(flow.flow_slug) from pgflow.flows as flow
  union
  select step.opt_queue from pgflow.steps as step where step.opt_queue is not null
  union
  select coalesce(state.queue_name, state.flow_slug)
  from unnest(p_run_ids) as checked (run_id)
  cross join lateral (
    select known.queue_name, known.flow_slug from pgflow.step_states as known where known.run_id = checked.run_id offset 0
  ) as state
  order by 1;
end
$$;

comment on function pgflow._queues_in_use(uuid[]) is 'The names of the queues of all flows and of some runs.';
