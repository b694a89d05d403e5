-- Pruning in batches.

create type pgflow.pruned as (runs integer, messages bigint, workers integer);
comment on type pgflow.pruned is 'How many runs, archived or quarantined messages, and workers a batch has deleted.';
