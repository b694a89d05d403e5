-- Every attempt: those on record, and the first-time successes and running attempts that their tasks tell of.
create or replace view pgflow.task_attempts as
select
  attempt.run_id,
  attempt.step_slug,
  attempt.task_index,
  attempt.attempt,
  attempt.worker_id,
  attempt.started_at,
  attempt.ended_at,
  attempt.outcome,
  attempt.error,
  attempt.details
from pgflow.attempts as attempt
union all
select
  task.run_id,
  task.step_slug,
  task.task_index,
  task.attempts_count as attempt,
  task.last_worker_id as worker_id,
  task.started_at,
  task.completed_at as ended_at,
  task.status as outcome,
  null as error,
  null as details
from pgflow.step_tasks as task
where task.status = 'started' or (task.status = 'completed' and task.attempts_count = 1);

comment on view pgflow.task_attempts is 'Every attempt of every task; outcome "started" is one that still runs.';
