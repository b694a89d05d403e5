-- Tell how many seconds from now the next message of some queues is due: 0 if one is due already, null if there is none.
-- Handlers name the steps that count, as for claim_tasks; what is not due counts whatever its step. Called by workers that
-- have nothing to do: one call stands for a claim of each queue. Reads the queues by visibility time. Takes no locks.
create or replace function pgflow.next_due(queue_names text[], handlers text[] default null)
returns real
language plpgsql
set search_path = ''
set enable_seqscan = off
set enable_bitmapscan = off
as $$
declare
  v_now timestamptz := clock_timestamp();
  v_steps text[];
  v_queue text;
  v_due timestamptz;
  v_soonest timestamptz;
begin
  if next_due.handlers is not null then
    v_steps := array(select split_part(handler, '(', 1) from unnest(next_due.handlers) as handler);
  end if;
  foreach v_queue in array next_due.queue_names loop
    execute format(
      $sql$
      select coalesce(
        (
          select due.vt from pgmq.%1$I as due
          where
            due.vt <= $1
            and ($2 is null or coalesce((due.message ->> 'flow_slug') || '.' || (due.message ->> 'step_slug') = any($2), true))
          order by due.vt
          limit 1
        ),
        (select later.vt from pgmq.%1$I as later where later.vt > $1 order by later.vt limit 1)
      )
      $sql$,
      pgmq.format_table_name(v_queue, 'q')
    )
    into v_due
    using v_now, v_steps;
    v_soonest := least(v_soonest, v_due);
  end loop;
  return case when v_soonest is not null then greatest(extract(epoch from v_soonest - v_now), 0) end;
end
$$;

comment on function pgflow.next_due(text[], text[]) is
'Seconds until the next message of some queues is due: 0 if one is, null if there is none.';
