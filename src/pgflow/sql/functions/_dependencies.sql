-- List the parents of a step in alphabetical order.
create or replace function pgflow._dependencies(p_flow_slug text, p_step_slug text)
returns text[]
language sql
stable
set search_path = ''
as $$
  select array(
    select dep.dep_slug
    from pgflow.deps as dep
    where dep.flow_slug = p_flow_slug and dep.step_slug = p_step_slug
    order by dep.dep_slug collate "C"
  )
$$;

comment on function pgflow._dependencies(text, text) is 'The slugs of a step''s parents, sorted.';
