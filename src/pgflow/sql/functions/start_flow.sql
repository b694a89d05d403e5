-- Start a run: its row, a state for each step with the plan that the run keeps, and whatever is ready at once. With an
-- idempotency key that the flow has seen, the run of that key is returned and nothing changes. Roots that map over the
-- input need an array. Locks: none but the new rows'; a concurrent start with the same key waits for the first.
create or replace function pgflow.start_flow(
  flow_slug text,
  input jsonb,
  run_id uuid default null,
  idempotency_key text default null,
  version integer default null
)
returns setof pgflow.runs
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  v_run pgflow.runs;
  v_flow pgflow.flows;
begin
  select * into v_flow from pgflow.flows as flow where flow.flow_slug = start_flow.flow_slug;
  insert into pgflow.runs as run (run_id, flow_slug, input, idempotency_key, flow_version)
  select
    coalesce(start_flow.run_id, gen_random_uuid()), start_flow.flow_slug,
    pgflow._checked_input(v_flow, coalesce(start_flow.version, v_flow.version, 1), start_flow.input),
    start_flow.idempotency_key, coalesce(start_flow.version, v_flow.version, 1)
  on conflict (flow_slug, idempotency_key) where idempotency_key is not null do nothing
  returning * into v_run;
  if not found then
    return query
    select run.* from pgflow.runs as run
    where run.flow_slug = start_flow.flow_slug and run.idempotency_key = start_flow.idempotency_key;
    return;
  end if;

  perform pgflow._create_step_states(v_run, v_flow);
  update pgflow.runs as run set
    remaining_steps = plan.steps,
    has_maps = plan.has_maps,
    has_conditions = plan.has_conditions,
    may_fail_on_condition = plan.may_fail
  from (
    select
      count(*) as steps,
      coalesce(bool_or(state.step_type = 'map'), false) as has_maps,
      coalesce(bool_or(state.required_input_pattern is not null or state.forbidden_input_pattern is not null), false)
        as has_conditions,
      coalesce(bool_or(
        (state.required_input_pattern is not null or state.forbidden_input_pattern is not null)
        and state.when_unmet = 'fail'
      ), false) as may_fail
    from pgflow.step_states as state
    where state.run_id = v_run.run_id
  ) as plan
  where run.run_id = v_run.run_id
  returning run.* into v_run;
  perform pgflow._emit(
    v_run.run_id, 'run:started',
    jsonb_build_object(
      'event_type', 'run:started', 'run_id', v_run.run_id, 'flow_slug', v_run.flow_slug, 'status', 'started',
      'remaining_steps', v_run.remaining_steps, 'started_at', v_run.started_at
    ),
    'input', v_run.input
  );
  perform pgflow._advance_runs(array[v_run.run_id]);
  return query select run.* from pgflow.runs as run where run.run_id = v_run.run_id;
end
$$;

comment on function pgflow.start_flow(text, jsonb, uuid, text, integer) is
'Start a run of a flow and return it; the same idempotency key always returns the same run.';
