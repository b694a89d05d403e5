-- Set a new queue's table up for messages that live for seconds: each is written once, hidden once and deleted. With
-- half of each page left free the hidden message stays on its page, which logs only what changed; and the dead entries
-- that a claim has to step over are vacuumed often and without pauses, however long the queue is. Called when a queue is
-- created. Locks: the table, so that it is not vacuumed or altered meanwhile; reads and writes go on.
create or replace function pgflow._tune_queue(p_queue_name text)
returns void
language plpgsql
set search_path = ''
as $$
begin
  execute format(
    'alter table pgmq.%I set (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, '
    'autovacuum_vacuum_cost_delay = 0)',
    pgmq.format_table_name(p_queue_name, 'q')
  );
end
$$;

comment on function pgflow._tune_queue(text) is 'Set a new queue up for short-lived messages.';
