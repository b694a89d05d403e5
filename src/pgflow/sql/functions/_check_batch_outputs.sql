-- Refuse the completion of a batch of items unless its output is an array with an element for each of them.
create or replace function pgflow._check_batch_outputs(p_accepted pgflow.accepted_tasks, p_outputs jsonb[])
returns void
language plpgsql
immutable
set search_path = ''
as $$
declare
  v_bad record;
begin
  if coalesce(array_remove(p_accepted.items, null), '{}') = '{}' then
    return;
  end if;
  select held.*, given.found into v_bad
  from unnest(
    p_accepted.run_ids, p_accepted.step_slugs, p_accepted.task_indexes, p_accepted.items, p_accepted.positions
  ) as held (run_id, step_slug, task_index, items, position)
  cross join lateral (
    select case
      when jsonb_typeof(p_outputs[held.position]) = 'array'
        then format('an array of %s', jsonb_array_length(p_outputs[held.position]))
      else coalesce(jsonb_typeof(p_outputs[held.position]), 'null')
    end as found
  ) as given
  where held.items is not null and given.found <> format('an array of %s', held.items)
  order by held.position
  limit 1;
  if found then
    raise exception 'Task %[%] of run % is a batch: its output must be an array of %, not %',
      v_bad.step_slug, v_bad.task_index, v_bad.run_id, v_bad.items, v_bad.found
      using errcode = 'invalid_parameter_value',
      hint = 'Give each item''s output in order, or report items that failed with pgflow.split_batches.';
  end if;
end
$$;

comment on function pgflow._check_batch_outputs(pgflow.accepted_tasks, jsonb[]) is
'Raise unless every completed batch has an output for each of its items.';
