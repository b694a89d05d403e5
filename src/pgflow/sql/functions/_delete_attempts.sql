-- Delete the attempts of runs that are deleted. A trigger instead of a foreign key, which would make every claim wait
-- for whoever holds the run.
create or replace function pgflow._delete_attempts()
returns trigger
language plpgsql
set search_path = ''
as $$
begin
  delete from pgflow.attempts as attempt
  where attempt.run_id in (select deleted.run_id from deleted);
  return null;
end
$$;

comment on function pgflow._delete_attempts() is 'Trigger: attempts go with their run.';

create or replace trigger delete_attempts
after delete on pgflow.runs
referencing old table as deleted
for each statement execute function pgflow._delete_attempts();
