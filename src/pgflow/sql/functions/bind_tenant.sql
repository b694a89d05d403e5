-- Bind a login role to a tenant: from its next statement on it sees, starts and steers only that tenant's runs. With a
-- null tenant it is free again. Refused where tenants are not kept apart (pgflow init --tenants), and for roles that work
-- or own, since a worker serves every tenant. Locks: the role's row of tenants.
create or replace function pgflow.bind_tenant(role_name name, tenant text)
returns void
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
begin
  if not (select relation.relrowsecurity from pg_catalog.pg_class as relation where relation.oid = 'pgflow.runs'::regclass) then
    raise exception 'Tenants are not kept apart in this database'
      using errcode = 'object_not_in_prerequisite_state', hint = 'Run: pgflow init --roles --tenants';
  end if;
  if to_regrole(quote_ident(bind_tenant.role_name)) is null then
    raise exception 'Role % does not exist', bind_tenant.role_name using errcode = 'undefined_object';
  end if;
  if bind_tenant.tenant is null then
    delete from pgflow.tenants as bound where bound.role_name = bind_tenant.role_name;
    return;
  end if;
  if
    pg_has_role(bind_tenant.role_name, 'pgflow_worker', 'member')
    or pg_has_role(bind_tenant.role_name, 'pgflow_owner', 'member')
  then
    raise exception 'Role % is a worker or an owner, and these serve every tenant', bind_tenant.role_name
      using errcode = 'invalid_grant_operation', hint = 'Bind roles that are members of pgflow_client or pgflow_viewer only.';
  end if;
  insert into pgflow.tenants as bound (role_name, tenant) values (bind_tenant.role_name, bind_tenant.tenant)
  on conflict on constraint tenants_pkey do update set tenant = excluded.tenant;
end
$$;

comment on function pgflow.bind_tenant(name, text) is
'Let a role see and steer only the runs of one tenant; null sets it free.';
