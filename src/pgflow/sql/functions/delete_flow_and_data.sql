-- Delete a flow with its queue and everything that ever ran of it. Queues that its steps name stay, since other
-- flows may use them; the flow's messages in them go. Locks: the flow, then its runs exclusively,
-- by run_id.
create or replace function pgflow.delete_flow_and_data(p_flow_slug text)
returns void
language plpgsql
set search_path = ''
as $$
declare
  v_queue text := pgflow._queue_name(p_flow_slug);
  v_run_ids uuid[];
begin
  perform pgflow._require_read_committed();
  perform 1 from pgflow.flows as flow where flow.flow_slug = p_flow_slug for update;
  perform 1 from pgflow.runs as run where run.flow_slug = p_flow_slug order by run.run_id for update;
  v_run_ids := array(select run.run_id from pgflow.runs as run where run.flow_slug = p_flow_slug);
  perform pgflow._delete_run_messages(v_run_ids);
  if to_regclass(format('pgmq.%I', pgmq.format_table_name(v_queue, 'q'))) is not null then
    perform pgmq.drop_queue(v_queue);
    perform pgflow._drop_queue_functions(v_queue);
  end if;
  delete from pgflow.step_tasks as task where task.run_id = any(v_run_ids);
  delete from pgflow.step_states as state where state.run_id = any(v_run_ids);
  delete from pgflow.runs as run where run.run_id = any(v_run_ids);
  delete from pgflow.deps as dep where dep.flow_slug = p_flow_slug;
  delete from pgflow.steps as step where step.flow_slug = p_flow_slug;
  delete from pgflow.flows as flow where flow.flow_slug = p_flow_slug;
end
$$;

comment on function pgflow.delete_flow_and_data(text) is 'Delete a flow, its queue and all its runs, live ones included.';
