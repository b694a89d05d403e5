-- Add the steps of a checked definition to a flow that has none, in one statement a table. Called under the lock of
-- define_flow.
create or replace function pgflow._add_steps(p_flow_slug text, p_steps jsonb)
returns void
language plpgsql
set search_path = ''
as $$
declare
  v_queue text;
begin
  insert into pgflow.steps (flow_slug, step_slug, step_type, step_index, deps_count, opt_queue, opt_initial_tasks)
  select
    p_flow_slug, step.value ->> 'slug', coalesce(step.value ->> 'step_type', 'single'), step.position - 1,
    jsonb_array_length(coalesce(nullif(step.value -> 'depends_on', 'null'), '[]')),
    step.value ->> 'queue', (step.value ->> 'initial_tasks')::int
  from jsonb_array_elements(p_steps) with ordinality as step (value, position);
  perform pgflow._change_step_options(p_flow_slug, p_steps);

  insert into pgflow.deps (flow_slug, dep_slug, step_slug)
  select p_flow_slug, dep.slug, step.value ->> 'slug'
  from jsonb_array_elements(p_steps) as step (value)
  cross join lateral jsonb_array_elements_text(nullif(step.value -> 'depends_on', 'null')) as dep (slug);

  for v_queue in
    select distinct step.opt_queue from pgflow.steps as step
    where step.flow_slug = p_flow_slug and step.opt_queue is not null
    order by 1
  loop
    perform pgflow.ensure_queue(v_queue);
  end loop;
end
$$;

comment on function pgflow._add_steps(text, jsonb) is 'Insert the steps and dependencies of a definition.';
