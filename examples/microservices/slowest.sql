-- The services by the time that a call takes, the slowest first. A failure tells nothing of speed, unless time ran out.
select
  split_part(attempt.step_slug, '_', 1) as service,
  count(*) as calls,
  percentile_disc(0.5) within group (order by call.seconds) as median,
  max(call.seconds) as longest
from pgflow.task_attempts as attempt
inner join pgflow.run_summary as run on attempt.run_id = run.run_id
cross join lateral (
  select extract(epoch from attempt.ended_at - attempt.started_at)::double precision as seconds
) as call
where
  run.flow_slug = 'checkout' and attempt.step_slug like '%\_%'
  and (attempt.outcome = 'completed' or attempt.error ~* 'time(d )?out')
group by service
order by median desc, service;
