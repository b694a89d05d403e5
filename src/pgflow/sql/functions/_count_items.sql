-- Count the items of a step by the status of their tasks. With p_counted task by task; else from the step's counters,
-- with what runs told by the messages that workers hold, and retries by the attempts on record: then a look costs
-- the same however large the step is. Called by step_summary. Takes no locks.
create or replace function pgflow._count_items(
  p_run_id uuid, p_step_slug text, p_queue_name text, p_is_counted boolean, p_initial integer, p_remaining integer,
  p_failed integer,
  out queued bigint, out started bigint, out completed bigint, out failed bigint, out retried bigint
)
language plpgsql
stable
set search_path = ''
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
begin
  if p_is_counted then
    select
      coalesce(sum(task.weight) filter (where task.status = 'queued'), 0),
      coalesce(sum(task.weight) filter (where task.status = 'started'), 0),
      coalesce(sum(task.weight) filter (where task.status = 'completed'), 0),
      coalesce(sum(task.weight) filter (where task.status = 'failed'), 0),
      coalesce(sum(task.weight) filter (where task.attempts_count - task.released_count > (task.status <> 'queued')::int), 0)
    into queued, started, completed, failed, retried
    from (
      select known.*, coalesce(known.items, 1) as weight from pgflow.step_tasks as known
      where known.run_id = p_run_id and known.step_slug = p_step_slug
    ) as task;
    return;
  end if;
  started := case when p_remaining > 0 then pgflow._running_items(p_run_id, p_step_slug, p_queue_name) else 0 end;
  queued := p_remaining - started;
  completed := p_initial - p_remaining - p_failed;
  failed := p_failed;
  retried := (
    select coalesce(sum(coalesce(task.items, 1)), 0)
    from (
      select distinct attempt.task_index from pgflow.attempts as attempt
      where attempt.run_id = p_run_id and attempt.step_slug = p_step_slug
    ) as tried
    cross join lateral (
      select known.items from pgflow.step_tasks as known
      where
        known.run_id = p_run_id and known.step_slug = p_step_slug and known.task_index = tried.task_index
        and known.attempts_count - known.released_count > (known.status <> 'queued')::int
      offset 0
    ) as task
  );
end
$$;

comment on function pgflow._count_items(uuid, text, text, boolean, integer, integer, integer) is
'The items of a step that are queued, started, completed, failed, and retried.';
