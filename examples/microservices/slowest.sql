-- The services by the time that a call takes, the slowest first. Attempts that failed tell of failures, not of speed.
select
  split_part(attempt.step_slug, '_', 1) as service,
  count(*) as calls,
  percentile_cont(0.5) within group (order by extract(epoch from attempt.ended_at - attempt.started_at)) as median,
  max(extract(epoch from attempt.ended_at - attempt.started_at))::double precision as longest
from pgflow.task_attempts as attempt
inner join pgflow.run_summary as run on attempt.run_id = run.run_id
where run.flow_slug = 'checkout' and attempt.outcome = 'completed' and attempt.step_slug like '%\_%'
group by service
order by median desc, service;
