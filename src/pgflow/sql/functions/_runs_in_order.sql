-- Read the runs of a call of start_many as they are now, in the order of its inputs: by idempotency key, and those
-- without one as they were inserted.
create or replace function pgflow._runs_in_order(p_flow_slug text, p_idempotency_keys text[], p_run_ids uuid[])
returns setof pgflow.runs
language plpgsql
stable
set search_path = ''
set enable_seqscan = off
as $$
begin
  return query
  with keyless as (
    select new.run_id, row_number() over (order by new.position) as number
    from unnest(p_run_ids) with ordinality as new (run_id, position)
    cross join lateral (
      select known.idempotency_key from pgflow.runs as known where known.run_id = new.run_id offset 0
    ) as run
    where run.idempotency_key is null
  ),
  asked as (
    select
      given.position, given.key,
      case when given.key is null then row_number() over (partition by given.key is null order by given.position) end as number
    from unnest(coalesce(p_idempotency_keys, array_fill(null::text, array[cardinality(p_run_ids)]))) with ordinality
      as given (key, position)
  )
  select run.*
  from asked
  left join keyless on asked.number = keyless.number
  cross join lateral (
    select known.* from pgflow.runs as known
    where asked.key is not null and known.flow_slug = p_flow_slug and known.idempotency_key = asked.key
    union all
    select known.* from pgflow.runs as known
    where asked.key is null and known.run_id = keyless.run_id
  ) as run
  order by asked.position;
end
$$;

comment on function pgflow._runs_in_order(text, text[], uuid[]) is 'The runs of some inputs, in their order.';
