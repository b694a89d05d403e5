-- Define a flow, or return it unchanged, and see to its queue. A slug that pgmq can't take as a queue name (longer
-- than 47 characters, or equal to another flow's but for letter case) gets a short name with its hash. Values at the
-- paths in redact are not shown by views, events, logs and errors; max_items is the most that a map of the flow may go
-- over. Locks: an advisory one on the lower-cased slug, so that two spellings can't choose one queue at once.
create or replace function pgflow.create_flow(
  flow_slug text,
  max_attempts integer default null,
  base_delay integer default null,
  timeout integer default null,
  max_delay integer default null,
  jitter real default null,
  redact text[] default null,
  max_items integer default null
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
  perform pgflow._refuse_beyond_limits(create_flow.flow_slug, jsonb_build_object(
    'max_attempts', create_flow.max_attempts, 'base_delay', create_flow.base_delay, 'timeout', create_flow.timeout,
    'max_delay', create_flow.max_delay, 'redact', to_jsonb(create_flow.redact)
  ));
  perform pg_advisory_xact_lock(hashtextextended('pgflow.create_flow ' || lower(create_flow.flow_slug), 0));
  select * into v_flow from pgflow.flows as flow where flow.flow_slug = create_flow.flow_slug;
  if not found then
    v_needs_short_name := length(create_flow.flow_slug) > 47 or exists (
      select 1 from pgflow.flows as flow
      where lower(coalesce(flow.queue_name, flow.flow_slug)) = lower(create_flow.flow_slug)
    );
    insert into pgflow.flows as flow (
      flow_slug, opt_max_attempts, opt_base_delay, opt_timeout, opt_max_delay, opt_jitter, redact, opt_max_items, queue_name
    )
    values (
      create_flow.flow_slug,
      coalesce(create_flow.max_attempts, 3),
      coalesce(create_flow.base_delay, 5),
      coalesce(create_flow.timeout, 60),
      create_flow.max_delay,
      coalesce(create_flow.jitter, 0),
      nullif(create_flow.redact, '{}'),
      create_flow.max_items,
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

comment on function pgflow.create_flow(text, integer, integer, integer, integer, real, text[], integer) is
'Define a flow and its queue; an existing flow is returned with the options that it has.';
