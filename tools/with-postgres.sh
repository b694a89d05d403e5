#!/bin/sh
# Run a command against a PostgreSQL of the system: with-postgres.sh VERSION COMMAND...
# The cluster is new, private to a unix socket in a temporary directory, and gone afterwards. PGFLOW_TEST_DATABASE_URL is its address.
set -eu
version=$1
shift

bin=/usr/lib/postgresql/$version/bin
if ! [ -x "$bin/initdb" ]; then
  echo "No PostgreSQL $version in $bin: install it, for example by apt-get install postgresql-$version." >&2
  exit 1
fi

# In memory where there is plenty of it (8 GiB): half of the tests' time goes into files that come and go.
place=${TMPDIR:-/tmp}
if [ -w /dev/shm ] && [ "$(df -Pk /dev/shm | awk 'NR == 2 { print $4 }')" -ge 8388608 ]; then
  place=/dev/shm
fi
directory=$(mktemp -d "$place/pgflow-tests.XXXXXX")
if [ "$(id -u)" = 0 ]; then
  chown postgres "$directory"
  as_server() { setpriv --reuid=postgres --regid=postgres --clear-groups "$@"; }
else
  as_server() { "$@"; }
fi

finish() {
  (cd / && as_server "$bin/pg_ctl" --pgdata "$directory/data" --mode immediate stop >/dev/null 2>&1) || true
  rm -rf "$directory"
}
trap finish EXIT
trap 'exit 130' INT TERM

cd_server() { (cd "$directory" && as_server "$@"); }
cd_server "$bin/initdb" --pgdata data --username postgres --auth trust --encoding UTF8 --locale C --no-sync >/dev/null
cat >>"$directory/data/postgresql.conf" <<CONF
listen_addresses = ''
unix_socket_directories = '$directory'
max_connections = 200
fsync = off
jit = off
CONF
cd_server "$bin/pg_ctl" --pgdata "$directory/data" --log "$directory/log" --wait start >/dev/null

PGFLOW_TEST_DATABASE_URL="postgresql:///postgres?host=$directory&user=postgres" "$@"
