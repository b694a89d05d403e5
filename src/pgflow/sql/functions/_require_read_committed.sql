-- Refuse a transaction whose snapshot is older than its locks. What ends a run, takes it up again or deletes it looks,
-- once it holds the run, for everything that others have made of it; under REPEATABLE READ and SERIALIZABLE it would miss
-- tasks and messages that were committed after the transaction began. Starts and reports work there, too: what they
-- change raises a serialization failure if somebody else has changed it since. Called before the first exclusive lock.
create or replace function pgflow._require_read_committed()
returns void
language plpgsql
set search_path = ''
as $$
begin
  if current_setting('transaction_isolation') in ('repeatable read', 'serializable') then
    raise exception 'pgflow cannot end, retry or delete runs in a transaction that is %',
      upper(current_setting('transaction_isolation'))
      using errcode = 'invalid_transaction_state',
      hint = 'Call it in a transaction of its own, or begin with: begin isolation level read committed';
  end if;
end
$$;

comment on function pgflow._require_read_committed() is
'Raise an error in a REPEATABLE READ or SERIALIZABLE transaction.';
