-- Where documents become searchable. All of it is written by the step `index`, in the transaction that completes its task.
create extension if not exists vector;
create schema if not exists searchable;

create table if not exists searchable.documents (
  document_id bigint generated always as identity primary key,
  sha256 text not null unique,
  name text not null,
  pages int not null check (pages > 0),
  run_id uuid not null,
  indexed_at timestamptz not null default now()
);

create table if not exists searchable.pages (
  document_id bigint not null references searchable.documents on delete cascade,
  page int not null,
  source text not null check (source in ('text layer', 'ocr')),
  confidence real check ((source = 'ocr') = (confidence is not null)),
  content text not null,
  words jsonb not null,
  primary key (document_id, page)
);

create table if not exists searchable.entities (
  document_id bigint not null,
  page int not null,
  kind text not null,
  value text not null,
  content text not null,
  primary key (document_id, page, kind, value),
  foreign key (document_id, page) references searchable.pages on delete cascade
);
create index if not exists entities_value on searchable.entities (kind, value);

create table if not exists searchable.chunks (
  chunk_id bigint generated always as identity primary key,
  document_id bigint not null,
  page int not null,
  position int not null,
  content text not null,
  terms tsvector not null generated always as (to_tsvector('english', content)) stored,
  embedding vector(384) not null,
  unique (document_id, page, position),
  foreign key (document_id, page) references searchable.pages on delete cascade
);
create index if not exists chunks_terms on searchable.chunks using gin (terms);
create index if not exists chunks_embedding on searchable.chunks using hnsw (embedding vector_cosine_ops);
