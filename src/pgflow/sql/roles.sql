-- The roles of pgflow and what each may do. Applied by `pgflow init --roles`, and again by every later init of a database
-- that has them, because functions that were created anew have lost it. Repeating it changes nothing. Roles belong to the
-- whole server: another database's init may make them at the same moment.
--
--   pgflow_owner    owns everything; prune, delete, mend, upgrade
--   pgflow_worker   claims and reports tasks, defines flows, reads
--   pgflow_client   starts, cancels and retries runs, defines flows, reads
--   pgflow_viewer   reads the views, which hide what flows redact
--
-- Nobody but the owner may write a table: functions that are granted run with the owner's rights.
do $$
declare
  v_role text;
begin
  foreach v_role in array array['pgflow_owner', 'pgflow_worker', 'pgflow_client', 'pgflow_viewer'] loop
    if to_regrole(v_role) is null then
      begin
        execute format('create role %I nologin', v_role);
      exception
        when duplicate_object or unique_violation then null;
        when insufficient_privilege then
          raise insufficient_privilege using
            message = format('role %s may not create the role %s', current_user, v_role),
            hint = format(
              'Let a superuser run it, or first: alter role %I createrole; or have an administrator make pgflow_owner, '
              'pgflow_worker, pgflow_client and pgflow_viewer, and: grant pgflow_owner to %I;',
              current_user, current_user
            );
      end;
    end if;
  end loop;
  if not pg_has_role(current_user, 'pgflow_owner', 'usage') then
    begin
      execute format('grant pgflow_owner to %I', current_user);
    exception
      when insufficient_privilege or invalid_grant_operation then
        raise insufficient_privilege using
          message = format('role %s is not a member of pgflow_owner', current_user),
          hint = format('Let a superuser run: grant pgflow_owner to %I;', current_user);
    end;
  end if;
end
$$;

-- Who owns what: everything of ours, and the queues that flows use.
do $$
declare
  v_object record;
begin
  if (select nspowner from pg_catalog.pg_namespace where nspname = 'pgflow') <> 'pgflow_owner'::regrole then
    alter schema pgflow owner to pgflow_owner;
  end if;
  for v_object in
    select
      case relation.relkind
        when 'v' then 'view' when 'c' then 'type' when 'S' then 'sequence' when 'm' then 'materialized view' else 'table'
      end as kind, relation.oid::regclass::text as name
    from pg_catalog.pg_class as relation
    where
      relation.relnamespace = 'pgflow'::regnamespace and relation.relkind in ('r', 'p', 'v', 'm', 'c', 'S')
      and relation.relowner <> 'pgflow_owner'::regrole
    union all
    select 'function', function.oid::regprocedure::text
    from pg_catalog.pg_proc as function
    where function.pronamespace = 'pgflow'::regnamespace and function.proowner <> 'pgflow_owner'::regrole
    union all
    select 'table', relation.oid::regclass::text
    from pgflow._queues_in_use('{}') as queue (name)
    inner join pg_catalog.pg_class as relation
      on relation.relname in (pgmq.format_table_name(queue.name, 'q'), pgmq.format_table_name(queue.name, 'a'))
    where relation.relnamespace = 'pgmq'::regnamespace and relation.relowner <> 'pgflow_owner'::regrole
  loop
    execute format('alter %s %s owner to pgflow_owner', v_object.kind, v_object.name);
  end loop;
end
$$;

-- What the owner needs to create, use and drop queues. Queues of others in the same database are not its affair.
do $$
declare
  v_table regclass;
begin
  grant usage, create on schema pgmq to pgflow_owner;
  grant execute on all functions in schema pgmq to pgflow_owner;
  for v_table in
    select relation.oid from pg_catalog.pg_class as relation
    where
      relation.relnamespace = 'pgmq'::regnamespace and relation.relkind in ('r', 'p')
      and relation.relname !~ '^[qa]_' and relation.relowner <> 'pgflow_owner'::regrole
  loop
    execute format('grant select, insert, update, delete on %s to pgflow_owner', v_table);
  end loop;
  if to_regprocedure('realtime.send(jsonb,text,text,boolean)') is not null then
    grant usage on schema realtime to pgflow_owner;
    grant execute on function realtime.send(jsonb, text, text, boolean) to pgflow_owner;
  end if;
end
$$;

-- Who may call what. A function that is named nowhere here is the owner's alone.
do $$
declare
  v_plain text[] := array['calculate_retry_delay', 'is_local', 'is_valid_slug'];
  v_both text[] := array[
    'add_step', 'create_flow', 'define_flow', 'ensure_queue', 'flow_queue_names', 'get_run_with_states', 'step_output'
  ];
  v_worker text[] := array[
    'claim_tasks', 'complete_and_claim', 'complete_task', 'complete_tasks', 'extend_leases', 'fail_task', 'fail_tasks',
    'mark_worker_stopped', 'next_due', 'poll_for_tasks', 'register_worker', 'release_tasks', 'report_progress',
    'requeue_stalled_tasks', 'resend_lost_messages', 'set_vt_batch', 'share_tasks', 'split_batches', 'start_tasks',
    'task_losses', 'track_worker_function', 'worker_heartbeat'
  ];
  v_client text[] := array[
    'cancel_run', 'retry_run', 'start_flow', 'start_flow_with_states', 'start_many'
  ];
  -- A view calls its functions with the rights of who looks at it, and so does a policy.
  v_viewer text[] := array['_session_tenant'] || array(
    select distinct function.proname::text
    from pg_catalog.pg_class as relation
    inner join pg_catalog.pg_rewrite as rule on relation.oid = rule.ev_class
    inner join pg_catalog.pg_depend as used on rule.oid = used.objid
    inner join pg_catalog.pg_proc as function on used.refobjid = function.oid
    where
      relation.relnamespace = 'pgflow'::regnamespace and function.pronamespace = 'pgflow'::regnamespace
      and used.classid = 'pg_rewrite'::regclass and used.refclassid = 'pg_proc'::regclass
  );
  v_function record;
begin
  revoke all on all functions in schema pgflow from pgflow_worker, pgflow_client, pgflow_viewer;
  for v_function in
    select
      function.oid::regprocedure as signature, function.prosecdef,
      function.proname = any(v_both || v_worker || v_client || v_viewer) as runs_as_owner,
      concat_ws(
        ', ',
        case when function.proname = any(v_plain || v_both || v_worker || v_viewer) then 'pgflow_worker' end,
        case when function.proname = any(v_plain || v_both || v_client || v_viewer) then 'pgflow_client' end,
        case when function.proname = any(v_plain || v_viewer) then 'pgflow_viewer' end
      ) as callers
    from pg_catalog.pg_proc as function
    where function.pronamespace = 'pgflow'::regnamespace
  loop
    if v_function.runs_as_owner <> v_function.prosecdef then
      execute format(
        'alter function %s security %s', v_function.signature,
        case when v_function.runs_as_owner then 'definer' else 'invoker' end
      );
    end if;
    if v_function.callers <> '' then
      execute format('grant execute on function %s to %s', v_function.signature, v_function.callers);
    end if;
  end loop;
end
$$;

-- Who may read what.
do $$
declare
  v_view regclass;
begin
  grant usage on schema pgflow to pgflow_worker, pgflow_client, pgflow_viewer;
  revoke all on all tables in schema pgflow from pgflow_worker, pgflow_client, pgflow_viewer;
  grant select on pgflow.schema_migrations to pgflow_worker, pgflow_client, pgflow_viewer;
  grant select on pgflow.flows, pgflow.steps, pgflow.deps, pgflow.flow_versions, pgflow.runs, pgflow.step_states, pgflow.step_tasks
  to pgflow_worker, pgflow_client;
  for v_view in
    select relation.oid from pg_catalog.pg_class as relation
    where relation.relnamespace = 'pgflow'::regnamespace and relation.relkind = 'v'
  loop
    execute format('grant select on %s to pgflow_worker, pgflow_client, pgflow_viewer', v_view);
  end loop;
end
$$;
