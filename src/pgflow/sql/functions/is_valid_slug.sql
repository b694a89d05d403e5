-- Say whether a text may name a flow, a step or a queue. The tables' checks call it, so migration 0001 holds
-- its first form. Takes no locks.
create or replace function pgflow.is_valid_slug(slug text)
returns boolean
language sql
immutable
parallel safe
set search_path = ''
as $$
  select coalesce(
    length(slug) between 1 and 128
    and slug ~ '^[a-zA-Z_][a-zA-Z0-9_]*$'
    and slug <> 'run',
    false
  )
$$;

comment on function pgflow.is_valid_slug(text) is
'True for 1 to 128 letters, digits and underscores that do not start with a digit; the word "run" is reserved.';
