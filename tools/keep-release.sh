#!/bin/sh
# Keep the package of a commit whose schema version was released, for the tests of upgrades: keep-release.sh COMMIT
set -eu
commit=$1
version=$(git ls-tree --name-only "$commit" src/pgflow/sql/migrations/ | wc -l)
target=tests/schema/releases/schema-$version.tar.xz
git archive --format=tar "$commit" src/pgflow ':!src/pgflow/demo' ':!src/pgflow/cli' | xz -9e > "$target"
echo "$target"
