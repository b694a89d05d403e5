-- Bring a flow's definition in line with the shape that a pgflow worker was compiled from: create it, find it equal,
-- or say how it differs. Only with allow_data_loss, or on a developer's own Supabase, a differing flow is replaced
-- and its runs deleted; define_flow makes a new version instead. Locks: an advisory one on the slug.
create or replace function pgflow.ensure_flow_compiled(flow_slug text, shape jsonb, allow_data_loss boolean default false)
returns jsonb
language plpgsql
set search_path = ''
as $$
#variable_conflict use_variable
declare
  v_differences text[];
begin
  perform pg_advisory_xact_lock(hashtextextended('pgflow.define_flow ' || flow_slug, 0));
  if not exists (select 1 from pgflow.flows as flow where flow.flow_slug = ensure_flow_compiled.flow_slug) then
    perform pgflow._create_flow_from_shape(flow_slug, shape);
    return jsonb_build_object('status', 'compiled', 'differences', '[]'::jsonb);
  end if;
  v_differences := pgflow._compare_flow_shapes(shape, pgflow._get_flow_shape(flow_slug));
  if v_differences = '{}' then
    return jsonb_build_object('status', 'verified', 'differences', '[]'::jsonb);
  end if;
  if not (allow_data_loss or pgflow.is_local()) then
    return jsonb_build_object('status', 'mismatch', 'differences', to_jsonb(v_differences));
  end if;
  perform pgflow.delete_flow_and_data(flow_slug);
  perform pgflow._create_flow_from_shape(flow_slug, shape);
  return jsonb_build_object('status', 'recompiled', 'differences', to_jsonb(v_differences));
end
$$;

comment on function pgflow.ensure_flow_compiled(text, jsonb, boolean) is
'Create a flow from a compiled shape, or compare it: compiled, verified, mismatch or recompiled, with the differences.';
