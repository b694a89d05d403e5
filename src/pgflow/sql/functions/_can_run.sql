-- Say whether a worker with these handlers can run a step: it names the step alone, or with the type and the
-- dependencies that its code has. Null handlers run everything.
create or replace function pgflow._can_run(
  p_handlers text[], p_flow_slug text, p_step_slug text, p_step_type text, p_deps text[]
)
returns boolean
language plpgsql
immutable
set search_path = ''
as $$
begin
  return p_handlers is null
    or format('%s.%s', p_flow_slug, p_step_slug) = any(p_handlers)
    or format('%s.%s(%s:%s)', p_flow_slug, p_step_slug, p_step_type, array_to_string(p_deps, ',')) = any(p_handlers);
end
$$;

comment on function pgflow._can_run(text[], text, text, text, text[]) is 'True if handlers cover a step as it is in a run.';
