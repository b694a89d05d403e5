-- Define a flow as a whole, from code or an agent. A shape that the flow has not had becomes a new version; one that it
-- had gets its old number back; either is what new runs start with, while live runs keep their plan. Options change in
-- place. Nothing is deleted. Returns the version.
-- Locks: none when nothing changed; else an advisory one on the slug, then the flow's row, which add_step and
-- delete_flow_and_data take as well.
create or replace function pgflow.define_flow(flow_slug text, definition jsonb)
returns integer
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  v_slug text := define_flow.flow_slug;
  v_options jsonb;
  v_hash text;
  v_flow pgflow.flows;
  v_version int;
begin
  perform pgflow._check_definition(v_slug, definition);
  v_options := coalesce(nullif(definition -> 'options', 'null'), '{}');
  v_hash := pgflow._definition_hash(definition);
  v_version := pgflow._version_in_use(v_slug, v_hash, definition);
  if v_version is null then
    perform pg_advisory_xact_lock(hashtextextended('pgflow.define_flow ' || v_slug, 0));
    v_version := pgflow._version_in_use(v_slug, v_hash, definition);
  end if;
  if v_version is not null then
    return v_version;
  end if;
  loop
    perform pgflow.create_flow(v_slug);
    select flow.* into v_flow from pgflow.flows as flow where flow.flow_slug = v_slug for no key update;
    exit when found;
  end loop;
  v_flow.shape_hash := pgflow._adopt_definition(v_flow);
  update pgflow.flows as flow
  set
    opt_max_attempts = coalesce((v_options ->> 'max_attempts')::int, 3),
    opt_base_delay = coalesce((v_options ->> 'base_delay')::int, 1),
    opt_timeout = coalesce((v_options ->> 'timeout')::int, 60),
    opt_max_delay = (v_options ->> 'max_delay')::int,
    opt_jitter = coalesce((v_options ->> 'jitter')::real, 0),
    redact = (
      select array_agg(path.value order by path.position)
      from jsonb_array_elements_text(nullif(v_options -> 'redact', 'null')) with ordinality as path (value, position)
    ),
    opt_max_items = (v_options ->> 'max_items')::int
  where flow.flow_slug = v_slug;

  insert into pgflow.flow_versions as flow_version (flow_slug, version, shape_hash, definition)
  select v_slug, coalesce(max(known.version), 0) + 1, v_hash, define_flow.definition
  from pgflow.flow_versions as known
  where known.flow_slug = v_slug
  on conflict on constraint flow_versions_flow_slug_shape_hash_key do update set definition = excluded.definition
  returning flow_version.version into v_version;
  update pgflow.flows as flow set version = v_version, shape_hash = v_hash where flow.flow_slug = v_slug;
  if v_flow.shape_hash is distinct from v_hash then
    delete from pgflow.deps as dep where dep.flow_slug = v_slug;
    delete from pgflow.steps as step where step.flow_slug = v_slug;
    perform pgflow._add_steps(v_slug, definition -> 'steps');
  else
    perform pgflow._change_step_options(v_slug, definition -> 'steps');
  end if;
  return v_version;
end
$$;

comment on function pgflow.define_flow(text, jsonb) is
'Define a flow by {"options": {...}, "steps": [{"slug": ..., "depends_on": [...], ...}]}; returns its version.';
