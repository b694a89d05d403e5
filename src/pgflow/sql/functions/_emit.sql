-- Tell the world of one transition of a run or step, as _emit_all does of many; p_value is the part that may be large.
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
  v_body text;
begin
  if to_regprocedure('realtime.send(jsonb,text,text,boolean)') is not null then
    execute 'select realtime.send($1, $2, $3, false)'
    using p_payload || case when p_value_key is null then '{}' else jsonb_build_object(p_value_key, p_value) end, p_event, v_topic;
  end if;
  v_body := (
    p_payload || jsonb_build_object('topic', v_topic) || case
      when p_value_key is null then '{}'
      when pg_column_size(p_value) < 6000 then jsonb_build_object(p_value_key, p_value)
      else '{"truncated": true}'
    end
  )::text;
  perform pg_notify('pgflow_events', case
    when octet_length(v_body) < 8000 and current_setting('pgflow.private_events', true) is distinct from 'on' then v_body
    else pgflow._short_notice(v_body)
  end);
end
$$;

comment on function pgflow._emit(uuid, text, jsonb, text, jsonb) is 'Send one event of a run.';
