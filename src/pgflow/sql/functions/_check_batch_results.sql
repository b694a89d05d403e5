-- Refuse a report of split_batches about a task that is no batch, or that does not say for each item, in order, one of
-- {"output": ...}, {"error": "...", "details": {...}} and {"released": true}.
create or replace function pgflow._check_batch_results(p_held pgflow.accepted_tasks, p_results jsonb[])
returns void
language plpgsql
immutable
set search_path = ''
as $$
declare
  v_bad record;
begin
  select held.*, verdict.problem into v_bad
  from unnest(p_held.run_ids, p_held.step_slugs, p_held.task_indexes, p_held.items, p_held.positions)
    as held (run_id, step_slug, task_index, items, position)
  cross join lateral (
    select case
      when held.items is null then 'is no batch'
      when coalesce(jsonb_typeof(p_results[held.position]), 'null') <> 'array' then 'needs an array of results'
      when jsonb_array_length(p_results[held.position]) <> held.items then format(
        'needs a result for each of its %s items, not %s', held.items, jsonb_array_length(p_results[held.position])
      )
      when exists (
        select 1 from jsonb_array_elements(p_results[held.position]) as item (result)
        where jsonb_typeof(item.result) <> 'object' or 1 <> (
          (item.result ? 'output')::int + coalesce(jsonb_typeof(item.result -> 'error') = 'string', false)::int
          + (item.result @> '{"released": true}')::int
        )
      ) then 'has a result that is not one of "output", "error" (a string) and "released" (true)'
    end as problem
  ) as verdict
  where verdict.problem is not null
  order by held.position
  limit 1;
  if found then
    raise exception 'Task %[%] of run % %', v_bad.step_slug, v_bad.task_index, v_bad.run_id, v_bad.problem
      using errcode = 'invalid_parameter_value',
      hint = 'Give for each item {"output": ...}, {"error": "...", "details": {...}} or {"released": true}.';
  end if;
end
$$;

comment on function pgflow._check_batch_results(pgflow.accepted_tasks, jsonb[]) is
'Raise unless every report of split_batches says how each item ended.';
