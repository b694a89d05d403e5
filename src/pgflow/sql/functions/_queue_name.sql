-- Find the pgmq queue of a flow: the slug, or the short name that create_flow chose where the slug can't serve.
create or replace function pgflow._queue_name(p_flow_slug text)
returns text
language plpgsql
stable
set search_path = ''
as $$
begin
  return (
    select coalesce(
      (select flow.queue_name from pgflow.flows as flow where flow.flow_slug = p_flow_slug),
      p_flow_slug
    )
  );
end
$$;

comment on function pgflow._queue_name(text) is 'The name of the pgmq queue that carries a flow''s tasks.';
