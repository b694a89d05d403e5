-- Make the functions of every queue anew that flows use, as this release wants them. Called at each install.
create or replace function pgflow._refresh_queue_functions()
returns void
language plpgsql
set search_path = ''
as $$
declare
  v_queue text;
begin
  for v_queue in
    select * from pgflow._known_queues()
  loop
    if to_regclass(format('pgmq.%I', lower('q_' || v_queue))) is not null then
      perform pgflow._make_queue_functions(v_queue);
    end if;
  end loop;
end
$$;

comment on function pgflow._refresh_queue_functions() is 'Make the functions of all queues anew.';
