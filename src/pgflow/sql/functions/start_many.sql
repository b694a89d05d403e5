-- Start a run for each input, all of one flow: their rows, a state for each step with the plan that the run keeps, and
-- whatever is ready at once. With an idempotency key that the flow has seen, the run of that key is taken and nothing
-- changes. Roots that map over the input need an array. Keys and ids are none, or as many as inputs. Returns the runs in
-- the order of the inputs; inputs with one key have one run. Locks: none but the new rows'; a concurrent start with the
-- same key waits for the first.
create or replace function pgflow.start_many(
  flow_slug text,
  inputs jsonb[],
  idempotency_keys text[] default null,
  run_ids uuid[] default null,
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
  v_plan pgflow.plan := pgflow._plan(start_many.flow_slug, start_many.version);
  v_runs pgflow.runs[];
  v_found int;
begin
  if
    cardinality(start_many.idempotency_keys) <> cardinality(start_many.inputs)
    or cardinality(start_many.run_ids) <> cardinality(start_many.inputs)
  then
    raise exception 'There are % inputs, so there must be as many idempotency_keys and run_ids, or none',
      cardinality(start_many.inputs) using errcode = 'invalid_parameter_value';
  end if;
  if (v_plan.summary).has_root_maps then
    perform pgflow._check_array_input(start_many.flow_slug, given.input, (v_plan.summary).max_items)
    from unnest(start_many.inputs) as given (input);
  end if;
  with started as (
    insert into pgflow.runs as run (
      run_id, flow_slug, input, idempotency_key, flow_version,
      remaining_steps, has_maps, has_conditions, may_fail_on_condition, redact, max_items
    )
    select
      coalesce(given.run_id, gen_random_uuid()), start_many.flow_slug, given.input, given.idempotency_key,
      coalesce((v_plan.summary).version, 1), coalesce((v_plan.summary).steps, 0),
      coalesce((v_plan.summary).has_maps, false), coalesce((v_plan.summary).has_conditions, false),
      coalesce((v_plan.summary).may_fail_on_condition, false), (v_plan.summary).redact, (v_plan.summary).max_items
    from unnest(start_many.inputs, start_many.idempotency_keys, start_many.run_ids) with ordinality
      as given (input, idempotency_key, run_id, position)
    order by given.position
    on conflict (flow_slug, idempotency_key) where idempotency_key is not null do nothing
    returning run as whole
  )
  select array_agg(started.whole) into v_runs from started;
  if pgflow._begin_runs(v_runs, v_plan.steps) or cardinality(v_runs) is distinct from cardinality(start_many.inputs) then
    return query select * from pgflow._runs_in_order(
      start_many.flow_slug, start_many.idempotency_keys, array(select run.run_id from unnest(v_runs) as run)
    );
    get diagnostics v_found = row_count;
    if v_found < cardinality(start_many.inputs) then
      raise exception 'Flow % has a run with such an idempotency key that this role may not see', start_many.flow_slug
        using hint = 'Begin the keys of each tenant with its name.';
    end if;
  else
    return query select * from unnest(v_runs);
  end if;
end
$$;

comment on function pgflow.start_many(text, jsonb[], text[], uuid[], integer) is
'Start a run of a flow for each input and return them in that order; the same idempotency key always gives the same run.';
