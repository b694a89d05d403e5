-- Start one run: the contract's form of start_many.
create or replace function pgflow.start_flow(
  flow_slug text,
  input jsonb,
  run_id uuid default null,
  idempotency_key text default null,
  version integer default null
)
returns setof pgflow.runs
language plpgsql
set search_path = ''
as $$
begin
  return query
  select * from pgflow.start_many(
    start_flow.flow_slug, array[start_flow.input], array[start_flow.idempotency_key], array[start_flow.run_id],
    start_flow.version
  );
end
$$;

comment on function pgflow.start_flow(text, jsonb, uuid, text, integer) is
'Start a run of a flow and return it; the same idempotency key always returns the same run.';
