#!/bin/sh
# Make the virtual environment $1 with everything that the lock file $2 pins: by uv where it is, else by venv and pip.
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

if command -v uv >/dev/null 2>&1; then
  [ -x "$venv/bin/python" ] || uv venv --quiet --python '>=3.11' "$venv"
  uv pip install --quiet --python "$venv/bin/python" --requirement "$lock"
  uv pip install --quiet --python "$venv/bin/python" --no-deps --editable .
else
  python=$(find_python)
  if ! [ -x "$venv/bin/pip" ] && ! "$python" -m venv "$venv"; then
    rm -rf "$venv"
    echo "This Python cannot make virtual environments: install its venv module (apt-get install python3-venv)." >&2
    exit 1
  fi
  "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$lock"
  "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --editable .
fi
