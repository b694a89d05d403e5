-- Report the items of batches that have just been taken apart, as their results say: complete, release, then fail them,
-- since a failure may end the run. Called under locks on the runs that suffice for all three. Locks: as theirs, less the
-- runs' and those on the items, which nobody else has seen.
create or replace function pgflow._report_items(
  p_items pgflow.accepted_tasks, p_task_indexes integer[], p_results jsonb[]
)
returns void
language plpgsql
set search_path = ''
as $$
declare
  v_part record;
begin
  for v_part in
    select
      case when item.result ? 'output' then 1 when item.result ? 'released' then 2 else 3 end as kind,
      array_agg(item.run_id) as run_ids, array_agg(item.step_slug) as step_slugs,
      array_agg(item.task_index) as task_indexes, array_agg(item.attempt) as attempts,
      array_agg(item.result -> 'output') as outputs, array_agg(item.result ->> 'error') as errors,
      array_agg(item.result -> 'details') as details
    from (
      select held.*, p_results[held.position] -> (held.task_index - p_task_indexes[held.position]) as result
      from unnest(p_items.run_ids, p_items.step_slugs, p_items.task_indexes, p_items.attempts, p_items.positions)
        as held (run_id, step_slug, task_index, attempt, position)
    ) as item
    group by 1
    order by 1
  loop
    case v_part.kind
      when 1 then
        perform pgflow.complete_tasks(
          v_part.run_ids, v_part.step_slugs, v_part.task_indexes, v_part.attempts, v_part.outputs
        );
      when 2 then
        perform pgflow.release_tasks(v_part.run_ids, v_part.step_slugs, v_part.task_indexes, v_part.attempts);
      else
        perform pgflow.fail_tasks(
          v_part.run_ids, v_part.step_slugs, v_part.task_indexes, v_part.attempts, v_part.errors, v_part.details
        );
    end case;
  end loop;
end
$$;

comment on function pgflow._report_items(pgflow.accepted_tasks, integer[], jsonb[]) is
'Complete, release and fail the items of batches.';
