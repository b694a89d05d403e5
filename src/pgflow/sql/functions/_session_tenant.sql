-- Tell the tenant that the session's login role is bound to; null for a role that sees everything. It goes by who
-- has logged in, which no function and no "set role" changes. Called by the policies of tenants.sql, once a statement, and
-- where a bound role needs to be told. Takes no locks.
create or replace function pgflow._session_tenant()
returns text
language plpgsql
stable
set search_path = ''
as $$
begin
  return (select bound.tenant from pgflow.tenants as bound where bound.role_name = session_user);
end
$$;

comment on function pgflow._session_tenant() is 'The tenant of the session''s role, or null.';
