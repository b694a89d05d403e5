-- Delete up to so many messages (all, without a limit) that were archived before a time from the archive of every queue
-- that flows use or used, and as many quarantined ones. Returns how many were deleted. Locks: those messages.
create or replace function pgflow._prune_archives(p_cutoff timestamptz, p_limit integer)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
  v_queue text;
  v_deleted bigint;
  v_sum bigint := 0;
begin
  for v_queue in
    select * from pgflow._known_queues()
  loop
    if to_regclass(format('pgmq.%I', pgmq.format_table_name(v_queue, 'a'))) is not null then
      execute format(
        'delete from pgmq.%1$I as message where message.ctid = any(array(
           select old.ctid from pgmq.%1$I as old where old.archived_at < $1 limit $2 for update skip locked
         ))',
        pgmq.format_table_name(v_queue, 'a')
      ) using p_cutoff, p_limit - v_sum;
      get diagnostics v_deleted = row_count;
      v_sum := v_sum + v_deleted;
    end if;
  end loop;
  delete from pgflow.quarantined_messages as message where message.ctid = any(array(
    select old.ctid from pgflow.quarantined_messages as old where old.quarantined_at < p_cutoff limit p_limit
    for update skip locked
  ));
  get diagnostics v_deleted = row_count;
  return v_sum + v_deleted;
end
$$;

comment on function pgflow._prune_archives(timestamptz, integer) is
'Delete messages that were archived or quarantined before a time; return their number.';
