-- Tell the world of transitions of runs and steps, in the order given: to realtime.send where that exists (looked up at
-- each call, since it may be created after us), and by NOTIFY on the channel pgflow_events. A notification is a hint of
-- at most 8,000 bytes: a large output or input is left out of it and "truncated" says so. Takes no row locks.
create or replace function pgflow._emit_all(p_events pgflow.event[])
returns void
language plpgsql
set search_path = ''
as $$
begin
  if to_regprocedure('realtime.send(jsonb,text,text,boolean)') is not null then
    execute
      $sql$
      select realtime.send(
        event.payload || case when event.value_key is null then '{}' else jsonb_build_object(event.value_key, event.value) end,
        event.name, 'pgflow:run:' || (event.payload ->> 'run_id'), false
      )
      from unnest($1) with ordinality as event
      order by event.ordinality
      $sql$ using p_events;
  end if;
  perform pg_notify('pgflow_events', case
    when octet_length(notice.body) < 8000 and current_setting('pgflow.private_events', true) is distinct from 'on'
      then notice.body
    else pgflow._short_notice(notice.body)
  end)
  from (
    select
      (
        event.payload || jsonb_build_object('topic', 'pgflow:run:' || (event.payload ->> 'run_id')) || case
          when event.value_key is null then '{}'
          when pg_column_size(event.value) < 6000 then jsonb_build_object(event.value_key, event.value)
          else '{"truncated": true}'
        end
      )::text as body
    from unnest(p_events) with ordinality as event
    order by event.ordinality
  ) as notice;
end
$$;

comment on function pgflow._emit_all(pgflow.event[]) is 'Send events of runs and steps, one after the other.';
