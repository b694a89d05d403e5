-- Define a flow, or return it unchanged, and see to its queue. A slug that pgmq can't take as a queue name (longer
-- than 47 characters, or equal to another flow's but for letter case) gets a short name with its hash.
-- Locks: an advisory one on the lower-cased slug, so that two spellings can't choose one queue at once.
create or replace function pgflow.create_flow(
  flow_slug text,
  max_attempts integer default null,
  base_delay integer default null,
  timeout integer default null,
  max_delay integer default null,
  jitter real default null
)
returns pgflow.flows
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
declare
  v_flow pgflow.flows;
  v_needs_short_name boolean;
begin
  perform pg_advisory_xact_lock(hashtextextended('pgflow.create_flow ' || lower(create_flow.flow_slug), 0));
  select * into v_flow from pgflow.flows as flow where flow.flow_slug = create_flow.flow_slug;
  if not found then
    v_needs_short_name := length(create_flow.flow_slug) > 47 or exists (
      select 1 from pgflow.flows as flow
      where lower(coalesce(flow.queue_name, flow.flow_slug)) = lower(create_flow.flow_slug)
    );
    insert into pgflow.flows as flow (
      flow_slug, opt_max_attempts, opt_base_delay, opt_timeout, opt_max_delay, opt_jitter, queue_name
    )
    values (
      create_flow.flow_slug,
      coalesce(create_flow.max_attempts, 3),
      coalesce(create_flow.base_delay, 5),
      coalesce(create_flow.timeout, 60),
      create_flow.max_delay,
      coalesce(create_flow.jitter, 0),
      case
        when v_needs_short_name
          then left(lower(create_flow.flow_slug), 30) || '_' || left(md5(create_flow.flow_slug), 16)
      end
    )
    returning * into v_flow;
  end if;
  perform pgflow.ensure_queue(coalesce(v_flow.queue_name, v_flow.flow_slug));
  return v_flow;
end
$$;

comment on function pgflow.create_flow(text, integer, integer, integer, integer, real) is
'Define a flow and its queue; an existing flow is returned with the options that it has.';
