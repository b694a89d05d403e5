-- List the queues that may hold messages of flows: each flow's own, and those that steps name or named in an earlier
-- version. Called where queues are cleaned up.
create or replace function pgflow._known_queues()
returns setof text
language sql
stable
set search_path = ''
as $$
  select pgflow._queue_name(flow.flow_slug) from pgflow.flows as flow
  union
  select step.opt_queue from pgflow.steps as step where step.opt_queue is not null
  union
  select step.value ->> 'queue'
  from pgflow.flow_versions as version
  cross join lateral jsonb_array_elements(version.definition -> 'steps') as step
  where step.value ->> 'queue' is not null
  order by 1
$$;

comment on function pgflow._known_queues() is 'Every queue that flows have used or use.';
