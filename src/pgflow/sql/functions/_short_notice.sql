-- Shorten an event that is too long for a notification: without the values that may be large, and with the beginning of
-- an error message; without that, too, where tenants are kept apart. "truncated" says that something is missing.
create or replace function pgflow._short_notice(p_body text)
returns text
language plpgsql
stable
set search_path = ''
as $$
declare
  v_notice jsonb := (p_body::jsonb - array['input', 'output']) || '{"truncated": true}';
begin
  if current_setting('pgflow.private_events', true) = 'on' then
    return (v_notice - array['error_message', 'reason'])::text;
  end if;
  if v_notice ? 'error_message' then
    v_notice := v_notice || jsonb_build_object('error_message', left(v_notice ->> 'error_message', 500));
  end if;
  return v_notice::text;
end
$$;

comment on function pgflow._short_notice(text) is 'The text of an event cut to what fits into a notification.';
