-- Compute the exponential backoff after a failed attempt: base times two to the number of attempts, in whole seconds.
-- Clamped to the largest integer, so that a failure can be recorded after any number of attempts.
create or replace function pgflow.calculate_retry_delay(base_delay numeric, attempts_count integer)
returns integer
language sql
immutable
parallel safe
set search_path = ''
as $$
  select least(floor(base_delay * power(2::numeric, least(attempts_count, 100))), 2147483647)::integer
$$;

comment on function pgflow.calculate_retry_delay(numeric, integer) is
'Seconds to wait before the next attempt: floor(base_delay * 2 ^ attempts_count), at most 2147483647.';
