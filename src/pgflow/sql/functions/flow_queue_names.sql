-- List the queues that carry a flow's tasks: its own, and those that its steps name. Called when a worker starts.
create or replace function pgflow.flow_queue_names(flow_slug text)
returns setof text
language sql
stable
set search_path = ''
as $$
  select pgflow._queue_name(flow_queue_names.flow_slug)
  union
  select step.opt_queue
  from pgflow.steps as step
  where step.flow_slug = flow_queue_names.flow_slug and step.opt_queue is not null
  union
  select state.queue_name
  from pgflow.runs as run
  inner join pgflow.step_states as state on run.run_id = state.run_id
  where
    run.flow_slug = flow_queue_names.flow_slug
    and run.completed_at is null and run.failed_at is null and run.cancelled_at is null
    and run.status = 'started'
    and state.status in ('created', 'started')
    and state.queue_name is not null
$$;

comment on function pgflow.flow_queue_names(text) is
'Every queue that a worker of this flow reads, those of live runs on older versions included.';
