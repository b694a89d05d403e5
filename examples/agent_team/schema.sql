create schema if not exists agent_team_example;

-- What suppliers report, quarter by quarter.
create table if not exists agent_team_example.scorecards (
  supplier text not null,
  quarter int not null,
  on_time_share double precision not null,
  defect_share double precision not null,
  primary key (supplier, quarter)
);

-- What goods-in recorded: one row a delivery.
create table if not exists agent_team_example.deliveries (
  id int primary key,
  supplier text not null,
  promised_on date not null,
  delivered_on date not null,
  pieces int not null,
  defective int not null,
  unit_price numeric(10, 2) not null
);

-- Prices in contracts, by year.
create table if not exists agent_team_example.prices (
  supplier text not null,
  year int not null,
  unit_price numeric(10, 2) not null,
  primary key (supplier, year)
);

-- What buyers wrote after visits.
create table if not exists agent_team_example.notes (
  supplier text not null,
  written_on date not null,
  note text not null,
  primary key (supplier, written_on)
);

-- Certificates that suppliers hold.
create table if not exists agent_team_example.certificates (
  supplier text not null,
  certificate text not null,
  valid_until date not null,
  primary key (supplier, certificate)
);

-- What each attempt has cost.
create table if not exists agent_team_example.model_calls (
  run_id uuid not null,
  step_slug text not null,
  task_index int not null,
  attempt int not null,
  model text not null,
  answer_id text not null,
  prompt_tokens int,
  completion_tokens int,
  recorded_at timestamptz not null default clock_timestamp(),
  primary key (run_id, step_slug, task_index, attempt)
);
