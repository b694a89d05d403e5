-- Name what goes beyond the limits in the options of a flow and in its steps, both as define_flow takes them. Called
-- before anything of a definition is stored; only what is too much, the lower ends are the tables' own checks.
create or replace function pgflow._limit_problems(p_options jsonb, p_steps jsonb)
returns text[]
language plpgsql
immutable
set search_path = ''
as $$
declare
  v_limits jsonb := pgflow._limits();
begin
  return array(
    with owner (position, label, options) as (
      select 0, 'The flow', p_options
      where jsonb_typeof(p_options) = 'object'
      union all
      select item.position, format('Step "%s"', left(item.value ->> 'slug', 140)), item.value
      from jsonb_array_elements(p_steps) with ordinality as item (value, position)
      where jsonb_typeof(item.value) = 'object'
    ),
    rule (name, most) as (
      select known.name, (v_limits ->> known.limit_name)::numeric
      from (values
        ('max_attempts', 'max_attempts'), ('timeout', 'max_timeout'), ('base_delay', 'max_delay'),
        ('max_delay', 'max_delay'), ('start_delay', 'max_delay'), ('initial_tasks', 'max_tasks')
      ) as known (name, limit_name)
    ),
    problem (position, text) as (
      select owner.position, format('%s: %s must be at most %s, not %s', owner.label, rule.name, rule.most, given.value)
      from owner
      cross join lateral jsonb_each(owner.options) as given (name, value)
      inner join rule on given.name = rule.name
      where case when jsonb_typeof(given.value) = 'number' then (given.value #>> '{}')::numeric > rule.most else false end
      union all
      select owner.position, format(
        '%s: it has %s dependencies, at most %s are possible', owner.label, counted.dependencies, v_limits ->> 'max_dependencies'
      )
      from owner
      cross join lateral (
        select case
          when jsonb_typeof(owner.options -> 'depends_on') = 'array' then jsonb_array_length(owner.options -> 'depends_on')
        end as dependencies
        offset 0
      ) as counted
      where counted.dependencies > (v_limits ->> 'max_dependencies')::int
      union all
      select owner.position, format('%s: %s %s', owner.label, given.name, size.problem)
      from owner
      cross join lateral jsonb_each(owner.options) as given (name, value)
      cross join lateral (
        select case
          when octet_length(given.value::text) > (v_limits ->> 'max_pattern_bytes')::int
            then format('takes more than %s bytes', v_limits ->> 'max_pattern_bytes')
          when pgflow._depth(given.value) > (v_limits ->> 'max_pattern_depth')::int
            then format('is nested deeper than %s levels', v_limits ->> 'max_pattern_depth')
        end as problem
      ) as size
      where given.name in ('required_input_pattern', 'forbidden_input_pattern') and size.problem is not null
    )
    select problem.text from problem order by problem.position, problem.text
  );
end
$$;

comment on function pgflow._limit_problems(jsonb, jsonb) is 'What of a definition goes beyond the limits.';
