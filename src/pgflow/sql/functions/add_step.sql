-- Add a step to a flow's definition, or return it unchanged. Every dependency must exist already, so a definition
-- can't hold a cycle and step_index is a topological order. Duplicate dependencies count once.
-- Locks: the flow's row, so that concurrent calls number their steps one after the other.
create or replace function pgflow.add_step(
  flow_slug text,
  step_slug text,
  deps_slugs text[] default '{}',
  max_attempts integer default null,
  base_delay integer default null,
  timeout integer default null,
  start_delay integer default null,
  step_type text default 'single',
  required_input_pattern jsonb default null,
  forbidden_input_pattern jsonb default null,
  when_unmet text default 'skip',
  when_exhausted text default 'fail',
  max_delay integer default null,
  jitter real default null,
  queue text default null,
  initial_tasks integer default null,
  max_failed_tasks integer default null,
  max_failed_percent real default null,
  batch_size integer default null
)
returns pgflow.steps
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  v_step pgflow.steps;
  v_deps text[] := array(
    select dep from (select distinct unnest(deps_slugs) as dep) as dependency order by dep collate "C"
  );
begin
  perform pgflow._refuse_beyond_limits(add_step.flow_slug, null, jsonb_build_array(jsonb_build_object(
    'slug', add_step.step_slug, 'depends_on', to_jsonb(add_step.deps_slugs), 'max_attempts', add_step.max_attempts,
    'base_delay', add_step.base_delay, 'timeout', add_step.timeout, 'start_delay', add_step.start_delay,
    'max_delay', add_step.max_delay, 'initial_tasks', add_step.initial_tasks,
    'required_input_pattern', add_step.required_input_pattern,
    'forbidden_input_pattern', add_step.forbidden_input_pattern
  )));
  if step_type = 'map' and cardinality(deps_slugs) > 1 then
    raise exception 'Map step "%" can have at most one dependency, but % were provided: %',
      add_step.step_slug, cardinality(deps_slugs), array_to_string(deps_slugs, ', ');
  end if;
  perform 1 from pgflow.flows as flow where flow.flow_slug = add_step.flow_slug for no key update;

  select * into v_step from pgflow.steps as step
  where step.flow_slug = add_step.flow_slug and step.step_slug = add_step.step_slug;
  if found then
    if cardinality(v_deps) > 0 and v_deps <> pgflow._dependencies(add_step.flow_slug, add_step.step_slug) then
      raise exception 'Step "%" of flow "%" exists with other dependencies: %',
        add_step.step_slug, add_step.flow_slug,
        array_to_string(pgflow._dependencies(add_step.flow_slug, add_step.step_slug), ', ')
        using errcode = 'duplicate_object',
        hint = 'Define the changed flow with pgflow.define_flow, which makes a new version of it.';
    end if;
    return v_step;
  end if;

  insert into pgflow.steps (
    flow_slug, step_slug, step_type, step_index, deps_count,
    opt_max_attempts, opt_base_delay, opt_timeout, opt_start_delay, opt_max_delay, opt_jitter,
    opt_queue, opt_initial_tasks, opt_max_failed_tasks, opt_max_failed_percent, opt_batch_size,
    required_input_pattern, forbidden_input_pattern, when_unmet, when_exhausted
  )
  select
    add_step.flow_slug, add_step.step_slug, add_step.step_type,
    coalesce(max(step.step_index) + 1, 0), cardinality(v_deps),
    add_step.max_attempts, add_step.base_delay, add_step.timeout, add_step.start_delay,
    add_step.max_delay, add_step.jitter,
    add_step.queue, add_step.initial_tasks, add_step.max_failed_tasks, add_step.max_failed_percent,
    add_step.batch_size,
    add_step.required_input_pattern, add_step.forbidden_input_pattern, add_step.when_unmet, add_step.when_exhausted
  from pgflow.steps as step
  where step.flow_slug = add_step.flow_slug
  returning * into v_step;
  perform pgflow._refuse_more_steps(v_step);
  insert into pgflow.deps (flow_slug, dep_slug, step_slug)
  select add_step.flow_slug, dep, add_step.step_slug from unnest(v_deps) as dep;
  update pgflow.flows as flow set shape_hash = null
  where flow.flow_slug = add_step.flow_slug and flow.shape_hash is not null;
  if add_step.queue is not null then
    perform pgflow.ensure_queue(add_step.queue);
  end if;
  return v_step;
end
$$;

comment on function pgflow.add_step(
  text, text, text[], integer, integer, integer, integer, text, jsonb, jsonb, text, text,
  integer, real, text, integer, integer, real, integer
) is 'Add a step to a flow; an existing step is returned as it is, and other dependencies for it are refused.';
