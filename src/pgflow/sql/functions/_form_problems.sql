-- Name what in a definition is of another kind than it must be: steps that are no objects, slugs, words, numbers,
-- patterns, lists of dependencies. The range of batch_size is left to the table's checks. What stands here is well-
-- formed JSON of unknown origin, so nothing is taken for granted.
create or replace function pgflow._form_problems(p_options jsonb, p_steps jsonb)
returns text[]
language plpgsql
immutable
set search_path = ''
as $$
begin
  return array(
    with owner (position, label, options) as (
      select 0, 'The flow', case when jsonb_typeof(p_options) = 'object' then p_options else '{}' end
      union all
      select
        item.position, case when item.value ? 'slug' then format('Step "%s"', left(item.value ->> 'slug', 140)) else format('Step %s', item.position) end,
        case when jsonb_typeof(item.value) = 'object' then item.value else '{}' end
      from jsonb_array_elements(p_steps) with ordinality as item (value, position)
    ),
    rule (name, least, most, form) as (
      values
      ('max_attempts', 0, 2147483647, '^-?\d{1,15}$'), ('base_delay', 0, 2147483647, '^-?\d{1,15}$'),
      ('timeout', 1, 2147483647, '^-?\d{1,15}$'), ('max_delay', 0, 2147483647, '^-?\d{1,15}$'),
      ('start_delay', 0, 2147483647, '^-?\d{1,15}$'), ('initial_tasks', 1, 2147483647, '^-?\d{1,15}$'),
      ('max_items', 1, 2147483647, '^-?\d{1,15}$'), ('batch_size', -2147483648, 2147483647, '^-?\d{1,15}$'),
      ('max_failed_tasks', 0, 2147483647, '^-?\d{1,15}$'), ('max_failed_percent', 0, 100, '^-?\d{1,15}(\.\d{1,30})?$'),
      ('jitter', 0, 1, '^-?\d{1,15}(\.\d{1,30})?$')
    ),
    problem (position, text) as (
      select 0, 'The options of the flow must be an object'
      where jsonb_typeof(p_options) not in ('object', 'null')
      union all
      select owner.position, format(
        '%s: %s must be a %s from %s to %s, not %s', owner.label, rule.name,
        case when rule.form like '%.%' then 'number' else 'whole number' end, rule.least, rule.most, left(given.value::text, 140)
      )
      from owner
      cross join lateral jsonb_each(owner.options) as given (name, value)
      inner join rule on given.name = rule.name
      where given.value <> 'null' and not case
        when jsonb_typeof(given.value) <> 'number' or (given.value #>> '{}') !~ rule.form then false
        else (given.value #>> '{}')::numeric between rule.least and rule.most
      end
      union all
      select owner.position, format('%s: %s', owner.label, field.problem)
      from owner
      cross join lateral pgflow._step_field_problems(owner.options) as field (problem)
      where owner.position > 0
    )
    select problem.text from problem order by problem.position, problem.text
  );
end
$$;

comment on function pgflow._form_problems(jsonb, jsonb) is 'What of a definition is not of the kind that it must be.';
