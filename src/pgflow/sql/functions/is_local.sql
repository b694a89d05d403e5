-- Say whether this is a developer's own Supabase, told by the public secret of its command line.
create or replace function pgflow.is_local()
returns boolean
language sql
stable
set search_path = ''
as $$
  select coalesce(
    current_setting('app.settings.jwt_secret', true)
    = 'super-secret-jwt-token-with-at-least-32-characters-long',
    false
  )
$$;

comment on function pgflow.is_local() is 'True on a database that the Supabase command line started locally.';
