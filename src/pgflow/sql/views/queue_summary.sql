-- One row a queue: what is due, what is in flight or delayed, and for how long the oldest due message has waited.
create or replace view pgflow.queue_summary as
select
  stats.queue_name,
  stats.visible,
  stats.in_flight_or_delayed,
  stats.total,
  stats.oldest_age_seconds
from pgflow._queue_stats() as stats;

comment on view pgflow.queue_summary is 'Queues with their lengths and the age of the oldest due message.';
