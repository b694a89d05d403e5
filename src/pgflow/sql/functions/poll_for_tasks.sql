-- Answer callers of the polling function of old: it returns nothing and says what to call instead.
create or replace function pgflow.poll_for_tasks(
  queue_name text, vt integer, qty integer, max_poll_seconds integer default 5, poll_interval_ms integer default 100
)
returns setof pgflow.step_task_record
language plpgsql
set search_path = ''
as $$
begin
  raise notice 'poll_for_tasks is deprecated: read messages with pgmq.read_with_poll and call pgflow.start_tasks';
  return;
end
$$;

comment on function pgflow.poll_for_tasks(text, integer, integer, integer, integer) is
'Deprecated, returns nothing: use pgmq.read_with_poll and pgflow.start_tasks, or pgflow.claim_tasks.';
