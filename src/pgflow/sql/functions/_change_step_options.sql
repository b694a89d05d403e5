-- Bring the options of a flow's steps in line with a definition of the same shape. Live runs keep their plan.
create or replace function pgflow._change_step_options(p_flow_slug text, p_steps jsonb)
returns void
language sql
set search_path = ''
as $$
  update pgflow.steps as step
  set
    opt_max_attempts = (defined.value ->> 'max_attempts')::int,
    opt_base_delay = (defined.value ->> 'base_delay')::int,
    opt_timeout = (defined.value ->> 'timeout')::int,
    opt_start_delay = (defined.value ->> 'start_delay')::int,
    opt_max_delay = (defined.value ->> 'max_delay')::int,
    opt_jitter = (defined.value ->> 'jitter')::real,
    opt_max_failed_tasks = (defined.value ->> 'max_failed_tasks')::int,
    opt_max_failed_percent = (defined.value ->> 'max_failed_percent')::real,
    opt_batch_size = (defined.value ->> 'batch_size')::int,
    required_input_pattern = nullif(defined.value -> 'required_input_pattern', 'null'),
    forbidden_input_pattern = nullif(defined.value -> 'forbidden_input_pattern', 'null'),
    when_unmet = coalesce(defined.value ->> 'when_unmet', 'skip'),
    when_exhausted = coalesce(defined.value ->> 'when_exhausted', 'fail')
  from jsonb_array_elements(p_steps) as defined (value)
  where step.flow_slug = p_flow_slug and step.step_slug = defined.value ->> 'slug'
$$;

comment on function pgflow._change_step_options(text, jsonb) is 'Set the options of steps from a definition.';
