-- Take steps that are over off the run's counter. Locks: the run's row.
create or replace function pgflow._count_steps_down(p_run_id uuid, p_steps integer)
returns void
language plpgsql
set search_path = ''
as $$
begin
  update pgflow.runs as run
  set remaining_steps = greatest(run.remaining_steps - p_steps, 0)
  where run.run_id = p_run_id and p_steps > 0;
end
$$;

comment on function pgflow._count_steps_down(uuid, integer) is 'Lower a run''s number of remaining steps.';
