-- Name what is wrong between the steps of a definition: dependencies that are named twice, unknown, not before their step
-- (which excludes cycles), or more than one for a map; and steps defined more than once.
create or replace function pgflow._dependency_problems(p_steps jsonb)
returns text[]
language plpgsql
immutable
set search_path = ''
as $$
begin
  return array(
    with step as materialized (
      select
        item.position, item.value ->> 'slug' as slug, item.value ->> 'step_type' as step_type,
        case when jsonb_typeof(item.value -> 'depends_on') = 'array' then item.value -> 'depends_on' else '[]' end as deps
      from jsonb_array_elements(p_steps) with ordinality as item (value, position)
    ),
    dep as materialized (
      select step.position, step.slug, dep.slug as dep_slug, count(*) as times
      from step
      cross join lateral jsonb_array_elements_text(step.deps) as dep (slug)
      group by step.position, step.slug, dep.slug
    ),
    problem (position, text) as (
      select dep.position, case
        when dep.slug = dep.dep_slug then format('Step "%s" depends on itself', dep.slug)
        when dep.times > 1 then format('Step "%s" names its dependency "%s" more than once', dep.slug, dep.dep_slug)
        when parent.slug is null then format('Step "%s" depends on "%s", which does not exist', dep.slug, dep.dep_slug)
        when parent.position > dep.position
          then format('Step "%s" depends on "%s", which comes after it', dep.slug, dep.dep_slug)
      end as text
      from dep
      left join step as parent on dep.dep_slug = parent.slug
      union all
      select step.position, format(
        'Map step "%s" can have at most one dependency, but %s were provided: %s', step.slug,
        jsonb_array_length(step.deps), (select string_agg(dep.slug, ', ') from jsonb_array_elements_text(step.deps) as dep (slug))
      )
      from step
      where step.step_type = 'map' and jsonb_array_length(step.deps) > 1
      union all
      select min(step.position), format('Step "%s" is defined %s times', step.slug, count(*))
      from step
      group by step.slug
      having count(*) > 1
    )
    select problem.text from problem
    where problem.text is not null
    order by problem.position
  );
end
$$;

comment on function pgflow._dependency_problems(jsonb) is 'What is wrong with the dependencies of a definition''s steps.';
