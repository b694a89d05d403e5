-- Tenants kept apart: a login role that pgflow.bind_tenant has bound sees, starts and steers only the runs of its tenant,
-- whatever function, view or table it goes through; all others see everything. Applied by `pgflow init --roles --tenants`,
-- and again by every later init of a database that has them. Repeating it changes nothing. Definitions of flows, the
-- lengths of queues and the names of workers are everybody's.
do $$
declare
  v_table record;
begin
  if (select relation.relowner from pg_catalog.pg_class as relation where relation.oid = 'pgflow.runs'::regclass)
    is distinct from to_regrole('pgflow_owner')::oid
  then
    raise exception 'tenants need roles' using hint = 'Run: pgflow init --roles --tenants';
  end if;
  alter table pgflow.runs alter column tenant set default pgflow._session_tenant();
  for v_table in
    select *
    from (values
      ('runs', 'tenant = (select pgflow._session_tenant())'),
      ('step_states', 'exists (select 1 from pgflow.runs as run where run.run_id = step_states.run_id)'),
      ('step_tasks', 'exists (select 1 from pgflow.runs as run where run.run_id = step_tasks.run_id)'),
      ('attempts', 'exists (select 1 from pgflow.runs as run where run.run_id = attempts.run_id)'),
      ('fan_outs', 'exists (select 1 from pgflow.runs as run where run.run_id = fan_outs.run_id)'),
      ('quarantined_messages', 'false'),
      ('workers', 'false')
    ) as wanted (name, is_own)
  loop
    execute format('alter table pgflow.%I enable row level security', v_table.name);
    execute format('alter table pgflow.%I force row level security', v_table.name);
    execute format('drop policy if exists own_tenant on pgflow.%I', v_table.name);
    execute format(
      'create policy own_tenant on pgflow.%I using ((select pgflow._session_tenant()) is null or %s)',
      v_table.name, v_table.is_own
    );
  end loop;
  -- Notifications know no rights: whoever may connect can listen, so they must not carry values.
  alter function pgflow._emit(uuid, text, jsonb, text, jsonb) set pgflow.private_events = 'on';
  alter function pgflow._emit_all(pgflow.event[]) set pgflow.private_events = 'on';
end
$$;
