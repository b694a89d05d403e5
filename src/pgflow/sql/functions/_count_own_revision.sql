-- Count a flow's revision up when one of its options changes. Called by a row trigger on flows, before the update.
create or replace function pgflow._count_own_revision()
returns trigger
language plpgsql
set search_path = ''
as $$
begin
  new.revision := old.revision + 1;
  return new;
end
$$;

comment on function pgflow._count_own_revision() is 'Trigger: a change of a flow''s options makes a new revision of it.';

create or replace trigger options_count_revision
before update of
  opt_max_attempts, opt_base_delay, opt_timeout, opt_max_delay, opt_jitter, queue_name, version, redact, opt_max_items
on pgflow.flows
for each row execute function pgflow._count_own_revision();
