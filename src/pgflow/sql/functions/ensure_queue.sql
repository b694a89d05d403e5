-- Create a pgmq queue unless it is there, and the functions that work on it. pgmq serialises creations of one queue by
-- an advisory lock. Its own check of names lets many pass that would be hard to quote, so ours comes first.
create or replace function pgflow.ensure_queue(queue_name text)
returns void
language plpgsql
set search_path = ''
as $$
begin
  if not pgflow.is_valid_slug(ensure_queue.queue_name) or length(ensure_queue.queue_name) > 47 then
    raise exception '"%" cannot be a queue', left(ensure_queue.queue_name, 140)
      using errcode = 'invalid_parameter_value', hint = 'Use at most 47 letters, digits and _, and start with a letter or _.';
  end if;
  if to_regclass(format('pgmq.%I', pgmq.format_table_name(ensure_queue.queue_name, 'q'))) is null then
    perform pgmq.create(ensure_queue.queue_name);
    perform pgflow._tune_queue(ensure_queue.queue_name);
  end if;
  perform pgflow._queue_function(ensure_queue.queue_name, 'send');
end
$$;

comment on function pgflow.ensure_queue(text) is 'Create a pgmq queue if it does not exist.';
