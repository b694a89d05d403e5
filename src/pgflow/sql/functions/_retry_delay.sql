-- Compute how long a failed task waits for its next attempt: what the handler asked for, else the exponential backoff
-- of its step, capped, plus up to the step's share of it at random.
create or replace function pgflow._retry_delay(
  p_state pgflow.step_states, p_tries integer, p_retry_after real default null
)
returns real
language plpgsql
set search_path = ''
as $$
declare
  v_delay real := least(
    pgflow.calculate_retry_delay(p_state.base_delay, p_tries), coalesce(p_state.max_delay, 2147483647)
  );
begin
  if p_retry_after is not null then
    return least(greatest(p_retry_after, 0), 2147483647);
  end if;
  return v_delay * (1 + p_state.jitter * random());
end
$$;

comment on function pgflow._retry_delay(pgflow.step_states, integer, real) is
'Seconds until the next attempt of a task: backoff with cap and jitter, or what the handler asked for.';
