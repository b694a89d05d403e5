-- Start the steps of one run that wait for nothing any more: the contract's form of _start_ready_steps.
create or replace function pgflow.start_ready_steps(run_id uuid)
returns void
language plpgsql
set search_path = ''
as $$
begin
  perform pgflow._start_ready_steps(array[start_ready_steps.run_id]);
end
$$;

comment on function pgflow.start_ready_steps(uuid) is 'Start every ready step of a run: its tasks and their messages.';
