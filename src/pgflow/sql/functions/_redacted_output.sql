-- Return a step's output without what is not to be shown. A path may name the step itself: then all of it goes.
create or replace function pgflow._redacted_output(p_step_slug text, p_output jsonb, p_paths text[])
returns jsonb
language plpgsql
immutable
set search_path = ''
as $$
begin
  if p_paths is null or p_output is null then
    return p_output;
  end if;
  return pgflow._redacted(jsonb_build_object(p_step_slug, p_output), p_paths) -> p_step_slug;
end
$$;

comment on function pgflow._redacted_output(text, jsonb, text[]) is 'A step''s output with "[redacted]" at the given paths.';
