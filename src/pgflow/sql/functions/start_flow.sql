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
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  v_run pgflow.runs;
  v_flow pgflow.flows;
  v_version int;
  v_plan pgflow.plan_summary;
begin
  select * into v_flow from pgflow.flows as flow where flow.flow_slug = start_flow.flow_slug;
  v_version := coalesce(start_flow.version, v_flow.version, 1);
  v_plan := pgflow._plan_summary(v_flow, v_version);
  insert into pgflow.runs as run (
    run_id, flow_slug, input, idempotency_key, flow_version,
    remaining_steps, has_maps, has_conditions, may_fail_on_condition
  )
  values (
    coalesce(start_flow.run_id, gen_random_uuid()), start_flow.flow_slug,
    pgflow._checked_input(start_flow.flow_slug, v_plan.has_root_maps, start_flow.input),
    start_flow.idempotency_key, v_version, coalesce(v_plan.steps, 0), coalesce(v_plan.has_maps, false),
    coalesce(v_plan.has_conditions, false), coalesce(v_plan.may_fail_on_condition, false)
  )
  on conflict (flow_slug, idempotency_key) where idempotency_key is not null do nothing
  returning * into v_run;
  if not found then
    return query
    select run.* from pgflow.runs as run
    where run.flow_slug = start_flow.flow_slug and run.idempotency_key = start_flow.idempotency_key;
    return;
  end if;

  perform pgflow._create_step_states(v_run, v_flow);
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
