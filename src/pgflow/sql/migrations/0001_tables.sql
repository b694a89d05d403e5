-- Tables, types and indexes of the engine. Functions, triggers and views are applied after the migrations, at
-- each install; the one below is here because the checks need it.
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

-- Definitions ---------------------------------------------------------------------------------------------------

create table pgflow.flows (
  flow_slug text not null,
  opt_max_attempts integer not null default 3,
  opt_base_delay integer not null default 1,
  opt_timeout integer not null default 60,
  created_at timestamptz not null default now(),
  opt_max_delay integer,
  opt_jitter real not null default 0,
  version integer not null default 1,
  shape_hash text,
  queue_name text,
  constraint flows_pkey primary key (flow_slug),
  constraint slug_is_valid check (pgflow.is_valid_slug(flow_slug)),
  constraint opt_max_attempts_is_nonnegative check (opt_max_attempts >= 0),
  constraint opt_base_delay_is_nonnegative check (opt_base_delay >= 0),
  constraint opt_timeout_is_positive check (opt_timeout > 0),
  constraint opt_max_delay_is_nonnegative check (opt_max_delay >= 0),
  constraint opt_jitter_is_fraction check (opt_jitter between 0 and 1)
);
comment on table pgflow.flows is 'One row a flow: its options and the version that new runs get.';
comment on column pgflow.flows.queue_name is 'The pgmq queue of the flow; null means that it is named by the slug.';

-- The unique key starts with the index, so that no plan on stale statistics takes it for a look-up by slug.
create table pgflow.steps (
  flow_slug text not null,
  step_slug text not null,
  step_type text not null default 'single',
  step_index integer not null default 0,
  deps_count integer not null default 0,
  opt_max_attempts integer,
  opt_base_delay integer,
  opt_timeout integer,
  opt_start_delay integer,
  required_input_pattern jsonb,
  forbidden_input_pattern jsonb,
  when_unmet text not null default 'skip',
  when_exhausted text not null default 'fail',
  created_at timestamptz not null default now(),
  opt_max_delay integer,
  opt_jitter real,
  opt_queue text,
  opt_initial_tasks integer,
  opt_max_failed_tasks integer,
  opt_max_failed_percent real,
  constraint steps_pkey primary key (flow_slug, step_slug),
  constraint steps_flow_slug_step_index_key unique (step_index, flow_slug),
  constraint steps_flow_slug_fkey foreign key (flow_slug) references pgflow.flows (flow_slug),
  constraint steps_step_slug_check check (pgflow.is_valid_slug(step_slug)),
  constraint steps_step_type_check check (step_type in ('single', 'map')),
  constraint steps_deps_count_check check (deps_count >= 0),
  constraint when_unmet_is_valid check (when_unmet in ('fail', 'skip', 'skip-cascade')),
  constraint when_exhausted_is_valid check (when_exhausted in ('fail', 'skip', 'skip-cascade')),
  constraint required_input_pattern_is_object check (jsonb_typeof(required_input_pattern) = 'object'),
  constraint forbidden_input_pattern_is_object check (jsonb_typeof(forbidden_input_pattern) = 'object'),
  constraint opt_max_attempts_is_nonnegative check (opt_max_attempts >= 0),
  constraint opt_base_delay_is_nonnegative check (opt_base_delay >= 0),
  constraint opt_timeout_is_positive check (opt_timeout > 0),
  constraint opt_start_delay_is_nonnegative check (opt_start_delay >= 0),
  constraint opt_max_delay_is_nonnegative check (opt_max_delay >= 0),
  constraint opt_jitter_is_fraction check (opt_jitter between 0 and 1),
  constraint opt_queue_is_valid check (
    opt_queue is null or (pgflow.is_valid_slug(opt_queue) and length(opt_queue) <= 47)
  ),
  constraint opt_initial_tasks_is_positive check (opt_initial_tasks > 0),
  constraint opt_max_failed_tasks_is_nonnegative check (opt_max_failed_tasks >= 0),
  constraint opt_max_failed_percent_is_percent check (opt_max_failed_percent between 0 and 100)
);
comment on table pgflow.steps is 'The steps of the version of each flow that new runs get; a null option inherits the flow''s.';
comment on column pgflow.steps.opt_initial_tasks is 'Number of tasks of a map step that has no array to go over.';
comment on column pgflow.steps.opt_max_failed_tasks is 'So many tasks of a map may fail for good before the step does.';
comment on column pgflow.steps.opt_max_failed_percent is 'Likewise, in percent of the map''s tasks; the larger of the two counts.';

create table pgflow.deps (
  flow_slug text not null,
  dep_slug text not null,
  step_slug text not null,
  created_at timestamptz not null default now(),
  constraint deps_pkey primary key (flow_slug, dep_slug, step_slug),
  constraint deps_check check (dep_slug <> step_slug),
  constraint deps_flow_slug_fkey foreign key (flow_slug) references pgflow.flows (flow_slug),
  constraint deps_flow_slug_step_slug_fkey foreign key (flow_slug, step_slug)
  references pgflow.steps (flow_slug, step_slug),
  constraint deps_flow_slug_dep_slug_fkey foreign key (flow_slug, dep_slug)
  references pgflow.steps (flow_slug, step_slug)
);
create index deps_by_child_idx on pgflow.deps (flow_slug, step_slug);
comment on table pgflow.deps is 'One row an edge: step_slug waits for dep_slug.';

create table pgflow.flow_versions (
  flow_slug text not null references pgflow.flows (flow_slug) on delete cascade,
  version integer not null,
  shape_hash text not null,
  definition jsonb not null,
  created_at timestamptz not null default now(),
  primary key (flow_slug, version),
  unique (flow_slug, shape_hash)
);
comment on table pgflow.flow_versions is
'Every shape that define_flow has seen of a flow, so that a run can be started on an older one.';

-- Runs ----------------------------------------------------------------------------------------------------------

create table pgflow.runs (
  run_id uuid not null default gen_random_uuid(),
  flow_slug text not null,
  status text not null default 'started',
  input jsonb not null,
  output jsonb,
  remaining_steps integer not null default 0,
  started_at timestamptz not null default now(),
  completed_at timestamptz,
  failed_at timestamptz,
  cancelled_at timestamptz,
  cancel_reason text,
  error_message text,
  idempotency_key text,
  flow_version integer not null default 1,
  has_maps boolean not null default true,
  has_conditions boolean not null default true,
  may_fail_on_condition boolean not null default true,
  constraint runs_pkey primary key (run_id),
  constraint runs_flow_slug_fkey foreign key (flow_slug) references pgflow.flows (flow_slug),
  constraint runs_status_check check (status in ('started', 'failed', 'completed', 'cancelled')),
  constraint runs_remaining_steps_check check (remaining_steps >= 0),
  constraint completed_at_or_failed_at check (num_nonnulls(completed_at, failed_at) <= 1),
  constraint idempotency_key_is_not_blank check (idempotency_key !~ '^\s*$')
) with (fillfactor = 70);
create unique index runs_idempotency_key_idx on pgflow.runs (flow_slug, idempotency_key)
where idempotency_key is not null;
create index runs_flow_slug_started_at_idx on pgflow.runs (flow_slug, started_at desc);
create index runs_started_at_idx on pgflow.runs (started_at desc);
-- Told by the times and not by the status, so that no plan on stale statistics takes it for a look-up by run_id.
create index runs_live_idx on pgflow.runs (run_id)
where completed_at is null and failed_at is null and cancelled_at is null;
comment on table pgflow.runs is 'One row an execution of a flow.';
comment on column pgflow.runs.has_maps is 'False spares the look for empty maps.';
comment on column pgflow.runs.has_conditions is 'False spares the look for conditions.';
comment on column pgflow.runs.may_fail_on_condition is
'True makes completions lock the run exclusively from the start, since any of them may end it.';

create table pgflow.step_states (
  flow_slug text not null,
  run_id uuid not null,
  step_slug text not null,
  status text not null default 'created',
  remaining_tasks integer,
  initial_tasks integer,
  remaining_deps integer not null default 0,
  output jsonb,
  error_message text,
  skip_reason text,
  created_at timestamptz not null default now(),
  started_at timestamptz,
  completed_at timestamptz,
  failed_at timestamptz,
  skipped_at timestamptz,
  failed_tasks integer not null default 0,
  output_bytes bigint not null default 0,
  step_index integer not null default 0,
  step_type text not null default 'single',
  deps text[] not null default '{}',
  children text[] not null default '{}',
  feeds_map boolean not null default false,
  fixed_size boolean not null default false,
  queue_name text,
  max_attempts integer not null default 3,
  base_delay integer not null default 1,
  max_delay integer,
  jitter real not null default 0,
  timeout integer not null default 60,
  start_delay integer,
  max_failed_tasks integer,
  max_failed_percent real,
  required_input_pattern jsonb,
  forbidden_input_pattern jsonb,
  when_unmet text not null default 'skip',
  when_exhausted text not null default 'fail',
  constraint step_states_pkey primary key (run_id, step_slug),
  constraint step_states_run_id_fkey foreign key (run_id) references pgflow.runs (run_id),
  constraint step_states_status_check check (status in ('created', 'started', 'completed', 'failed', 'skipped')),
  constraint initial_tasks_known_when_started check (status <> 'started' or initial_tasks is not null),
  constraint output_only_for_completed_or_null check (output is null or status = 'completed'),
  constraint initial_tasks_is_nonnegative check (initial_tasks >= 0),
  constraint remaining_deps_is_nonnegative check (remaining_deps >= 0),
  constraint remaining_tasks_is_nonnegative check (remaining_tasks >= 0),
  constraint completed_has_no_remaining_tasks check (status <> 'completed' or remaining_tasks = 0),
  constraint remaining_tasks_unknown_before_start
  check (status not in ('created', 'skipped') or remaining_tasks is null),
  constraint skip_reason_exactly_when_skipped check ((skip_reason is not null) = (status = 'skipped')),
  constraint one_end_at_most check (num_nonnulls(completed_at, failed_at, skipped_at) <= 1)
) with (fillfactor = 50);
create index step_states_ready_idx on pgflow.step_states (run_id)
where status = 'created' and remaining_deps = 0;
comment on table pgflow.step_states is
'One row a run and step. It carries the step''s plan as of the start of the run, so a run never looks at definitions again.';
comment on column pgflow.step_states.fixed_size is 'True for a map that has a number of tasks instead of an array.';
comment on column pgflow.step_states.feeds_map is 'True for a single step whose output a map goes over.';
comment on column pgflow.step_states.output is
'The step''s output; null for a map whose outputs are too large for one value: read those with pgflow.step_output.';

create table pgflow.workers (
  worker_id uuid not null,
  queue_name text not null,
  function_name text not null,
  started_at timestamptz not null default now(),
  deprecated_at timestamptz,
  stopped_at timestamptz,
  last_heartbeat_at timestamptz not null default now(),
  queue_names text[],
  hostname text,
  pid integer,
  info jsonb,
  constraint workers_pkey primary key (worker_id)
) with (fillfactor = 50);
comment on table pgflow.workers is 'One row a worker process; heartbeats show which live.';

create table pgflow.worker_functions (
  function_name text not null primary key,
  enabled boolean not null default true,
  debounce interval not null default '6 seconds',
  last_invoked_at timestamptz,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint debounce_is_at_least_one_second check (debounce >= '1 second')
);
comment on table pgflow.worker_functions is 'Names under which worker deployments have registered.';

-- The only index is the primary key, so that granting and completing a task stay heap-only updates.
create table pgflow.step_tasks (
  flow_slug text not null,
  run_id uuid not null,
  step_slug text not null,
  task_index integer not null default 0,
  message_id bigint,
  status text not null default 'queued',
  attempts_count integer not null default 0,
  error_message text,
  output jsonb,
  queued_at timestamptz not null default now(),
  started_at timestamptz,
  completed_at timestamptz,
  failed_at timestamptz,
  last_worker_id uuid,
  requeued_count integer not null default 0,
  last_requeued_at timestamptz,
  permanently_stalled_at timestamptz,
  released_count integer not null default 0,
  input jsonb,
  progress jsonb,
  constraint step_tasks_pkey primary key (run_id, step_slug, task_index),
  constraint step_tasks_run_id_step_slug_fkey foreign key (run_id, step_slug)
  references pgflow.step_states (run_id, step_slug),
  constraint step_tasks_last_worker_id_fkey foreign key (last_worker_id)
  references pgflow.workers (worker_id) on delete set null,
  constraint valid_status check (status in ('queued', 'started', 'completed', 'failed')),
  constraint output_valid_only_for_completed check (output is null or status in ('completed', 'failed')),
  constraint attempts_count_is_nonnegative check (attempts_count >= 0),
  constraint released_count_is_nonnegative check (released_count >= 0),
  constraint completed_at_or_failed_at check (num_nonnulls(completed_at, failed_at) <= 1)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);
comment on table pgflow.step_tasks is 'One row a unit of work: one for a single step, one for each element of a map.';
comment on column pgflow.step_tasks.attempts_count is 'Grants so far; the number of the latest is the fence of its holder.';
comment on column pgflow.step_tasks.released_count is 'Grants that do not count as an attempt: handed back, or never run.';
comment on column pgflow.step_tasks.input is 'The element of the array that a map task works on.';

create table pgflow.attempts (
  run_id uuid not null,
  step_slug text not null,
  task_index integer not null,
  attempt integer not null,
  worker_id uuid,
  started_at timestamptz,
  ended_at timestamptz not null default now(),
  outcome text not null,
  error text,
  details jsonb,
  constraint attempts_outcome_check check (outcome in ('completed', 'failed', 'lost', 'released', 'requeued'))
);
create index attempts_by_task_idx on pgflow.attempts (run_id, step_slug, task_index, attempt);
comment on table pgflow.attempts is
'Every attempt that did not succeed at once; a success at the first attempt is told by its task alone.';

create table pgflow.quarantined_messages (
  queue_name text not null,
  msg_id bigint not null,
  message jsonb,
  reason text not null,
  quarantined_at timestamptz not null default now(),
  primary key (queue_name, msg_id, quarantined_at)
);
comment on table pgflow.quarantined_messages is 'Messages that belong to no task, taken out of their queue.';

-- Types ---------------------------------------------------------------------------------------------------------

create type pgflow.step_task_record as (
  flow_slug text,
  run_id uuid,
  step_slug text,
  input jsonb,
  msg_id bigint,
  task_index integer,
  flow_input jsonb
);

create type pgflow.granted_task as (
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
  deferred text []
);
comment on type pgflow.granted_task is 'A task as a worker gets it; "attempt" is the fence of the grant.';

create type pgflow.task_report as (run_id uuid, step_slug text, task_index integer, outcome text);
comment on type pgflow.task_report is 'What became of one report: accepted, already_accepted, stale or finished.';

create type pgflow.task_output as (task_index integer, output jsonb);
create type pgflow.task_input as (task_index integer, input jsonb);

create type pgflow.accepted_tasks as (
  run_ids uuid [],
  step_slugs text [],
  task_indexes integer [],
  attempts integer [],
  message_ids bigint [],
  queue_names text [],
  bytes integer [],
  ctids tid [],
  positions bigint []
);
comment on type pgflow.accepted_tasks is 'The accepted part of a batch of reports, as parallel arrays.';

create type pgflow.violation as (run_id uuid, step_slug text, output jsonb);

create type pgflow.recorded_failures as (accepted pgflow.accepted_tasks, delays real []);

create type pgflow.queue_stats as (
  queue_name text,
  visible bigint,
  in_flight_or_delayed bigint,
  total bigint,
  oldest_age_seconds double precision
);

create type pgflow.given_report as (
  run_id uuid,
  step_slug text,
  task_index integer,
  attempt integer,
  output jsonb,
  error text,
  details jsonb,
  position bigint,
  run_status text,
  step_status text,
  queue_name text,
  max_attempts integer
);
comment on type pgflow.given_report is 'One report of a batch, as given by a worker, with how its run and step stand.';

create type pgflow.task_message as (msg_id bigint, run_id uuid, step_slug text, task_index integer, body jsonb);
comment on type pgflow.task_message is 'A message and the task that its body names; null where it names none.';

create type pgflow.found_step as (place tid, run_status text, step pgflow.step_states);

create type pgflow.plan_summary as (
  steps integer,
  has_maps boolean,
  has_root_maps boolean,
  has_conditions boolean,
  may_fail_on_condition boolean
);
