#!/bin/sh
# Run a command with the pgmq that another release of the pgmq package ships: with-pgmq.sh RELEASE COMMAND...
# PGFLOW_TEST_PGMQ_SQL names its SQL. Releases before 1.1.3 (pgmq 1.11.1) ship none.
set -eu
release=$1
shift

directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
trap 'exit 130' INT TERM

if command -v uv >/dev/null 2>&1; then
  uv pip install --quiet --python .venv/bin/python --no-deps --target "$directory" "pgmq==$release"
else
  .venv/bin/python -m pip --quiet --disable-pip-version-check install --no-deps --target "$directory" "pgmq==$release"
fi
echo "pgmq $(cat "$directory/pgmq/sql/VERSION")"
PGFLOW_TEST_PGMQ_SQL="$directory/pgmq/sql/pgmq.sql" "$@"
