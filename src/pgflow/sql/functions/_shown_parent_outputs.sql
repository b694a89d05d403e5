-- Put together what a step with dependencies got, less what the run's flow redacts. The view failed_tasks calls it with
-- the rights of who looks at it, so whoever may read views can call it, too: it looks up itself what is not to be shown.
create or replace function pgflow._shown_parent_outputs(p_run_id uuid, p_deps text[])
returns jsonb
language sql
stable
set search_path = ''
as $$
  select pgflow._redacted((pgflow._parent_outputs(run.run_id, p_deps)).outputs, run.redact || flow.redact)
  from pgflow.runs as run
  left join pgflow.flows as flow on run.flow_slug = flow.flow_slug
  where run.run_id = p_run_id
$$;

comment on function pgflow._shown_parent_outputs(uuid, text[]) is
'The outputs of a step''s completed parents by their slugs, with "[redacted]" for what is not to be shown.';
