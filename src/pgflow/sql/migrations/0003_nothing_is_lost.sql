-- Nothing is lost: fences that survive a retry, invariants, tenants, redaction and limits, who is to blame for the death
-- of a worker, pruning in batches.

-- What these replace; functions and views are applied anew after the migrations.
drop view if exists pgflow.failed_tasks;
drop function if exists pgflow._enqueue_single(
  uuid, text, text, text[], text, integer, timestamptz, integer, integer, pgflow.taker
);
drop function if exists pgflow._reset_downstream(uuid, text[]);
drop function if exists pgflow._check_array_input(text, jsonb);
drop function if exists pgflow.create_flow(text, integer, integer, integer, integer, real);

-- Fences --------------------------------------------------------------------------------------------------------

alter table pgflow.step_states add column last_fence integer not null default 0;
comment on column pgflow.step_states.last_fence is
'The greatest fence of the tasks that a retry has deleted; the tasks after them begin behind it, so that no fence comes back.';

-- Who is to blame for the death of a worker ---------------------------------------------------------------------

alter table pgflow.step_tasks
add column losses smallint,
add column shared_attempt integer;
comment on column pgflow.step_tasks.losses is 'Grants that ended with their worker; null for none.';
comment on column pgflow.step_tasks.shared_attempt is
'The latest grant whose worker said that it performs other tasks, too, so that its death does not tell against this one.';

-- Redaction, and limits of fan-outs -----------------------------------------------------------------------------

alter table pgflow.flows
add column redact text[],
add column opt_max_items integer constraint opt_max_items_is_positive check (opt_max_items > 0);
comment on column pgflow.flows.redact is
'Paths of values that views, events, logs and errors do not show, such as card.number or items.*.token; null for none.';
comment on column pgflow.flows.opt_max_items is 'The most items that a map of this flow may have; null for any number.';

alter table pgflow.flow_plans add column redact text[], add column max_items integer;
alter table pgflow.runs add column redact text[], add column max_items integer;
alter table pgflow.step_states add column redact text[];

-- Tenants -------------------------------------------------------------------------------------------------------

alter table pgflow.runs add column tenant text;
comment on column pgflow.runs.tenant is 'Whose run it is, where tenants are kept apart; told by the role that started it.';

create table pgflow.tenants (
  role_name name not null,
  tenant text not null,
  constraint tenants_pkey primary key (role_name),
  constraint tenant_is_not_blank check (tenant !~ '^\s*$')
);
comment on table pgflow.tenants is
'Roles that see and steer only the runs of one tenant, where init --tenants has been done; others see all.';

-- Types ---------------------------------------------------------------------------------------------------------

create type pgflow.invariant_finding as (
  invariant text,
  severity text,
  run_id uuid,
  step_slug text,
  task_index integer,
  queue_name text,
  msg_id bigint,
  detail text,
  mend text,
  safe boolean
);
comment on type pgflow.invariant_finding is
'Something that must never be so, where it was seen, and what mends it; safe: mend_invariants() does it.';

create type pgflow.pruned as (runs integer, messages bigint, workers integer);
comment on type pgflow.pruned is 'How many runs, archived or quarantined messages, and workers a batch has deleted.';
