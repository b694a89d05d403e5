-- A company's tables, and the two that the report's steps write to.
drop schema if exists example_report cascade;
create schema example_report;

create table example_report.orders (
  id integer primary key,
  ordered_on date not null,
  region text not null,
  amount numeric(10, 2) not null
);

create table example_report.campaigns (
  ran_on date not null,
  channel text not null,
  cost numeric(10, 2) not null,
  visits integer not null,
  signups integer not null,
  primary key (ran_on, channel)
);

create table example_report.tickets (
  id integer primary key,
  opened_at timestamp not null,
  closed_at timestamp,
  topic text not null
);

-- The bytes of a report. A step's output names the row by the run; it does not hold the bytes.
create table example_report.documents (
  run_id uuid primary key,
  pdf bytea not null,
  preview bytea
);

-- What is to be mailed: a row for each report and recipient, whichever run made it.
create table example_report.outbox (
  report text not null,
  recipient text not null,
  message_id text not null unique,
  run_id uuid not null references example_report.documents,
  sha256 text not null, -- of the PDF: another run that has other figures is told from one that asks again
  sent_at timestamptz,
  primary key (report, recipient)
);
