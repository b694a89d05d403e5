-- Count a flow's revision up when its steps or their dependencies change, so that no start takes a plan that was made
-- before. Called by statement triggers on steps and deps. Locks: the flows' rows.
create or replace function pgflow._count_revision()
returns trigger
language plpgsql
set search_path = ''
as $$
begin
  if tg_op = 'TRUNCATE' then
    update pgflow.flows as flow set revision = flow.revision + 1;
  elsif tg_op = 'INSERT' then
    update pgflow.flows as flow set revision = flow.revision + 1
    where flow.flow_slug in (select changed.flow_slug from after_change as changed);
  elsif tg_op = 'DELETE' then
    update pgflow.flows as flow set revision = flow.revision + 1
    where flow.flow_slug in (select changed.flow_slug from before_change as changed);
  else
    update pgflow.flows as flow set revision = flow.revision + 1
    where flow.flow_slug in (
      select changed.flow_slug from before_change as changed
      union
      select changed.flow_slug from after_change as changed
    );
  end if;
  return null;
end
$$;

comment on function pgflow._count_revision() is 'Trigger: a change of steps or dependencies makes a new revision of their flow.';

create or replace trigger steps_insert_counts_revision after insert on pgflow.steps
referencing new table as after_change
for each statement execute function pgflow._count_revision();

create or replace trigger steps_update_counts_revision after update on pgflow.steps
referencing old table as before_change new table as after_change
for each statement execute function pgflow._count_revision();

create or replace trigger steps_delete_counts_revision after delete on pgflow.steps
referencing old table as before_change
for each statement execute function pgflow._count_revision();

create or replace trigger deps_insert_counts_revision after insert on pgflow.deps
referencing new table as after_change
for each statement execute function pgflow._count_revision();

create or replace trigger deps_update_counts_revision after update on pgflow.deps
referencing old table as before_change new table as after_change
for each statement execute function pgflow._count_revision();

create or replace trigger deps_delete_counts_revision after delete on pgflow.deps
referencing old table as before_change
for each statement execute function pgflow._count_revision();

create or replace trigger steps_truncate_counts_revision after truncate on pgflow.steps
for each statement execute function pgflow._count_revision();

create or replace trigger deps_truncate_counts_revision after truncate on pgflow.deps
for each statement execute function pgflow._count_revision();
