-- Tokens by run and step, and how many of them went to attempts that did not complete; null if the model tells none.
select
  call.run_id,
  call.step_slug,
  count(*) as answers,
  sum(call.prompt_tokens) as prompt_tokens,
  sum(call.completion_tokens) as completion_tokens,
  sum(
    case when attempt.outcome <> 'completed' then call.prompt_tokens + call.completion_tokens else 0 end
  ) as wasted_tokens
from agent_example.model_calls as call
left join pgflow.task_attempts as attempt using (run_id, step_slug, task_index, attempt)
where call.run_id = any (%(runs)s)
group by call.run_id, call.step_slug
order by call.run_id, call.step_slug
