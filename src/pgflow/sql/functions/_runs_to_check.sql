-- List the runs whose invariants are checked: those given, as far as they exist, or all that are live and, of those
-- that started within a day, the latest that are over, 10,000 of them at most. Called by check_invariants. Takes no
-- locks.
create or replace function pgflow._runs_to_check(p_run_ids uuid[])
returns uuid[]
language plpgsql
stable
set search_path = ''
set enable_seqscan = off
as $$
begin
  if p_run_ids is not null then
    return array(
      select run.run_id
      from (select distinct given.run_id from unnest(p_run_ids) as given (run_id)) as wanted
      cross join lateral (
        select known.run_id from pgflow.runs as known where known.run_id = wanted.run_id offset 0
      ) as run
      order by run.run_id
    );
  end if;
  return array(
    select run.run_id from pgflow.runs as run
    where run.completed_at is null and run.failed_at is null and run.cancelled_at is null
    union
    (
      select run.run_id from pgflow.runs as run
      where run.started_at > clock_timestamp() - interval '1 day' order by run.started_at desc limit 10000
    )
  );
end
$$;

comment on function pgflow._runs_to_check(uuid[]) is 'The runs that a check of the invariants looks at.';
