-- Stored plans for fast starts, large maps in slices, tasks that carry a batch of items.

-- What these replace; functions and views are applied anew after the migrations.
drop view if exists pgflow.failed_tasks;
drop function if exists pgflow._create_step_states(pgflow.runs, pgflow.flows);
drop function if exists pgflow._checked_input(text, boolean, jsonb);
drop function if exists pgflow._deferred_parents(uuid, text[]);
drop function if exists pgflow._dependency_outputs(uuid, text[]);

-- Definitions ---------------------------------------------------------------------------------------------------

alter table pgflow.flows add column revision integer not null default 0;
comment on column pgflow.flows.revision is
'Grows with every change of the flow, its steps or their dependencies; stored plans carry it.';

alter table pgflow.steps
add column opt_batch_size integer
constraint opt_batch_size_is_in_range check (opt_batch_size between 1 and 10000),
add constraint opt_batch_size_needs_an_array
check (opt_batch_size is null or (step_type = 'map' and (opt_initial_tasks is null or deps_count > 0)));
comment on column pgflow.steps.opt_batch_size is 'So many items of a map share one task; null for one each.';

-- A plan is right for the revision that it was made at, so it is never updated: a new revision makes a new one.
create table pgflow.flow_plans (
  flow_slug text not null,
  version integer not null,
  revision integer not null,
  steps integer not null,
  has_maps boolean not null,
  has_root_maps boolean not null,
  has_conditions boolean not null,
  may_fail_on_condition boolean not null,
  constraint flow_plans_pkey primary key (flow_slug, version, revision),
  constraint flow_plans_flow_slug_fkey foreign key (flow_slug) references pgflow.flows (flow_slug) on delete cascade
);
comment on table pgflow.flow_plans is 'What starting a run has to know of a flow''s version; made by the first start.';

create table pgflow.planned_steps (
  flow_slug text not null,
  version integer not null,
  revision integer not null,
  step_index integer not null,
  step_slug text not null,
  step_type text not null,
  initial_tasks integer,
  deps text[] not null,
  children text[] not null,
  feeds_map boolean not null,
  fixed_size boolean not null,
  queue_name text not null,
  max_attempts integer not null,
  base_delay integer not null,
  max_delay integer,
  jitter real not null,
  timeout integer not null,
  start_delay integer,
  max_failed_tasks integer,
  max_failed_percent real,
  required_input_pattern jsonb,
  forbidden_input_pattern jsonb,
  when_unmet text not null,
  when_exhausted text not null,
  batch_size integer,
  constraint planned_steps_pkey primary key (flow_slug, version, revision, step_index),
  constraint planned_steps_plan_fkey foreign key (flow_slug, version, revision)
  references pgflow.flow_plans (flow_slug, version, revision) on delete cascade
);
comment on table pgflow.planned_steps is
'The steps of a stored plan, with options resolved: what each run''s step_states start from.';

-- Runs ----------------------------------------------------------------------------------------------------------

alter table pgflow.step_states add column batch_size integer;

alter table pgflow.step_tasks add column items integer;
-- Room on the page for the three versions of a task (queued, started, completed), so that both updates are heap-only.
alter table pgflow.step_tasks set (fillfactor = 30);
comment on column pgflow.step_tasks.items is
'Items that a batch carries, the first of them task_index; null for a task of its own. Input and output of a batch are arrays.';

create table pgflow.fan_outs (
  run_id uuid not null,
  step_slug text not null,
  queue_name text not null,
  next_index integer not null,
  paused boolean not null default false,
  constraint fan_outs_pkey primary key (run_id, step_slug),
  constraint fan_outs_step_fkey foreign key (run_id, step_slug)
  references pgflow.step_states (run_id, step_slug) on delete cascade,
  constraint next_index_is_nonnegative check (next_index >= 0)
) with (fillfactor = 50);
create index fan_outs_open_idx on pgflow.fan_outs (queue_name) where not paused;
comment on table pgflow.fan_outs is 'Maps whose tasks are created in slices, and how far that has come.';

-- Types ---------------------------------------------------------------------------------------------------------

alter type pgflow.granted_task add attribute items integer;
alter type pgflow.granted_task add attribute recovered boolean;

alter type pgflow.accepted_tasks add attribute items integer[];

create type pgflow.work_item as (
  outcome text,
  flow_slug text,
  run_id uuid,
  step_slug text,
  task_index integer,
  attempt integer,
  input jsonb,
  flow_input jsonb,
  msg_id bigint,
  queue_name text,
  step_type text,
  tries integer,
  max_attempts integer,
  timeout integer,
  exhausted boolean,
  deferred text [],
  items integer,
  recovered boolean
);
comment on type pgflow.work_item is
'A report that was not accepted, told by its outcome; or, with a null outcome, a task that was granted.';

create type pgflow.event as (name text, payload jsonb, value_key text, value jsonb);
comment on type pgflow.event is 'One transition to tell of; value is the part that may be large.';

create type pgflow.plan as (summary pgflow.flow_plans, steps pgflow.planned_steps []);
comment on type pgflow.plan is 'A stored plan with its steps; null for a flow that does not exist.';

drop type pgflow.plan_summary cascade;

create type pgflow.taker as (worker_id uuid, queue_names text [], handlers text [], qty integer, lease integer);
comment on type pgflow.taker is
'A worker that takes tasks as they become ready: how many, of which steps and queues, for how long.';

drop type pgflow.task_input cascade;
create type pgflow.task_input as (task_index integer, input jsonb, items integer);

create type pgflow.parent_outputs as (outputs jsonb, deferred text []);

create type pgflow.completed_work as (accepted pgflow.accepted_tasks, granted pgflow.granted_task []);
comment on type pgflow.completed_work is 'What of a batch of completions was accepted, and what was granted in turn.';

create type pgflow.counted_step as (run_id uuid, step_slug text, items bigint, bytes bigint);
comment on type pgflow.counted_step is 'So many items of a step, with outputs of that size, are over.';

create type pgflow.read_messages as (msg_ids bigint [], messages jsonb []);
comment on type pgflow.read_messages is 'Messages that a claim has hidden.';

create type pgflow.new_tasks as (
  numbers integer [],
  task_indexes integer [],
  inputs jsonb [],
  items integer [],
  due_at timestamptz [],
  is_taken boolean [],
  messages jsonb []
);
comment on type pgflow.new_tasks is 'Tasks to be created, as parallel arrays; a number tells the step.';
