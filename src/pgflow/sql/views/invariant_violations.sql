-- One row a finding of check_invariants: nothing, in a healthy database.
create or replace view pgflow.invariant_violations as
select
  finding.invariant,
  finding.severity,
  finding.run_id,
  finding.step_slug,
  finding.task_index,
  finding.queue_name,
  finding.msg_id,
  finding.detail,
  finding.mend,
  finding.safe
from pgflow.check_invariants() as finding;

comment on view pgflow.invariant_violations is 'What must never be so, with the mend of each finding; empty while all is well.';
