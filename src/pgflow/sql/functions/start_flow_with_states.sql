-- Start a run and return it with the states of its steps. Runs with the rights of its owner, so that clients who may
-- not read the tables can call it.
create or replace function pgflow.start_flow_with_states(flow_slug text, input jsonb, run_id uuid default null)
returns jsonb
language plpgsql
security definer
set search_path = ''
as $$
declare
  v_run_id uuid;
begin
  select run.run_id into v_run_id
  from pgflow.start_flow(
    start_flow_with_states.flow_slug, start_flow_with_states.input, start_flow_with_states.run_id
  ) as run;
  return pgflow.get_run_with_states(v_run_id);
end
$$;

comment on function pgflow.start_flow_with_states(text, jsonb, uuid) is 'Start a run; returns what get_run_with_states does.';
