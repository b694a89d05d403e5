-- Raise one error with everything that goes beyond the limits, or with the bad paths of what is not to be shown: for
-- create_flow and add_step, which take their options one by one.
create or replace function pgflow._refuse_beyond_limits(p_flow_slug text, p_options jsonb, p_steps jsonb default '[]')
returns void
language plpgsql
immutable
set search_path = ''
as $$
declare
  v_problems text[] := pgflow._limit_problems(p_options, p_steps) || pgflow._redact_problems(p_options -> 'redact');
begin
  if v_problems <> '{}' then
    raise exception 'Flow "%" goes beyond the limits: %', left(p_flow_slug, 140), array_to_string(v_problems, E'\n')
      using errcode = 'program_limit_exceeded', hint = 'pgflow._limits() names them all.';
  end if;
end
$$;

comment on function pgflow._refuse_beyond_limits(text, jsonb, jsonb) is
'Raise if options of a flow or of its steps go beyond the limits.';
