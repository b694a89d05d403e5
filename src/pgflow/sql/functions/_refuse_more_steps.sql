-- Raise if a step that was just added is one more than a flow may have; the whole call is undone by it.
create or replace function pgflow._refuse_more_steps(p_step pgflow.steps)
returns void
language plpgsql
immutable
set search_path = ''
as $$
begin
  if p_step.step_index >= (pgflow._limits() ->> 'max_steps')::int then
    raise exception 'Flow "%" has % steps, more are not possible', p_step.flow_slug, p_step.step_index
      using errcode = 'program_limit_exceeded', hint = 'Split it into several flows.';
  end if;
end
$$;

comment on function pgflow._refuse_more_steps(pgflow.steps) is 'Raise if a step is one too many for its flow.';
