-- Tell the world of one transition of a run or step: to realtime.send where that exists (looked up at each call, since
-- it may be created after us), and by NOTIFY on the channel pgflow_events. A notification is a hint of at most 8,000
-- bytes: a large output or input is left out of it and "truncated" says so. Takes no row locks.
create or replace function pgflow._emit(
  p_run_id uuid,
  p_event text,
  p_payload jsonb,
  p_value_key text default null,
  p_value jsonb default null
)
returns void
language plpgsql
set search_path = ''
as $$
declare
  v_topic text := 'pgflow:run:' || p_run_id;
  v_notice jsonb := p_payload || jsonb_build_object('topic', v_topic);
begin
  if to_regprocedure('realtime.send(jsonb,text,text,boolean)') is not null then
    execute 'select realtime.send($1, $2, $3, false)' using
      case
        when p_value_key is null then p_payload
        else p_payload || jsonb_build_object(p_value_key, p_value)
      end, p_event, v_topic;
  end if;
  if p_value_key is not null and pg_column_size(p_value) < 6000 then
    v_notice := v_notice || jsonb_build_object(p_value_key, p_value);
  elsif p_value_key is not null then
    v_notice := v_notice || '{"truncated": true}';
  end if;
  if octet_length(v_notice::text) >= 8000 then
    v_notice := (v_notice - coalesce(p_value_key, '')) || '{"truncated": true}';
    v_notice := case
      when v_notice ? 'error_message'
        then v_notice || jsonb_build_object('error_message', left(v_notice ->> 'error_message', 500))
      else v_notice
    end;
  end if;
  perform pg_notify('pgflow_events', v_notice::text);
end
$$;

comment on function pgflow._emit(uuid, text, jsonb, text, jsonb) is
'Send one event of a run; p_value_key and p_value are the part that may be large.';
