#!/bin/sh
# Make the virtual environment $1 with everything that the lock file $2 pins: by uv, which comes from the package index where
# the machine has none, or by pip where that cannot be.
set -eu
venv=$1
lock=${2:-requirements-dev.lock}

find_python() {
  for python in python3 python3.14 python3.13 python3.12 python3.11; do
    if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$python"
      return
    fi
  done
  echo "No Python 3.11 or newer is on the PATH: install one, for example by apt-get install python3 python3-venv." >&2
  exit 1
}

make_environment() {
  if command -v uv >/dev/null 2>&1; then
    uv venv --quiet --python '>=3.11' "$venv"
    return
  fi
  python=$(find_python)
  if ! "$python" -m venv "$venv"; then
    rm -rf "$venv"
    echo "This Python cannot make virtual environments: install its venv module (apt-get install python3-venv)." >&2
    exit 1
  fi
  "$venv/bin/pip" install --quiet --disable-pip-version-check uv || echo "without uv, which takes longer" >&2
}

[ -x "$venv/bin/python" ] || make_environment

if uv=$(command -v uv || command -v "$venv/bin/uv"); then
  install() { "$uv" pip install --quiet --python "$venv/bin/python" "$@"; }
else
  install() { "$venv/bin/pip" install --quiet --disable-pip-version-check "$@"; }
fi
install --requirement "$lock"
install --no-deps --editable .
