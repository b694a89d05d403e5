-- Put together the output of a run: an object of its completed leaf steps' outputs, null without any. Outputs that
-- would pass the size of one value together are left null, to be read step by step.
create or replace function pgflow._run_output(p_run_id uuid)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
begin
  return (
    select jsonb_object_agg(
      leaf.step_slug,
      case when leaf.bytes_so_far <= 12 * pgflow._max_aggregate_bytes() then coalesce(leaf.output, 'null') else 'null' end
    )
    from (
      select
        state.step_slug, state.output,
        sum(case when state.output is not null then state.output_bytes else 0 end)
          over (order by state.output_bytes, state.step_index) as bytes_so_far
      from pgflow.step_states as state
      where state.run_id = p_run_id and state.status = 'completed' and state.children = '{}'
    ) as leaf
  );
end
$$;

comment on function pgflow._run_output(uuid) is 'The outputs of a run''s completed leaf steps by their slugs.';
