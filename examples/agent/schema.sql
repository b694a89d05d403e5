create schema if not exists agent_example;

-- What the tool `run_sql` may read.
create table if not exists agent_example.orders (
  id int primary key,
  ordered_on date not null,
  country text not null,
  product text not null,
  bags int not null,
  unit_price numeric(10, 2) not null,
  currency text not null
);

-- What the tool `search_handbook` searches.
create table if not exists agent_example.passages (
  title text primary key,
  body text not null,
  embedding vector(384) not null
);

create index if not exists passages_embedding on agent_example.passages using hnsw (embedding vector_cosine_ops);

-- What each attempt has cost.
create table if not exists agent_example.model_calls (
  run_id uuid not null,
  step_slug text not null,
  task_index int not null,
  attempt int not null,
  model text not null,
  answer_id text not null,
  prompt_tokens int,
  completion_tokens int,
  seconds real not null,
  recorded_at timestamptz not null default clock_timestamp(),
  primary key (run_id, step_slug, task_index, attempt)
);
