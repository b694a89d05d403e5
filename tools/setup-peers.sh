#!/bin/sh
# Make the environment $1 with the engines that the benchmarks compare with, as benchmarks/peers pins them: Python packages by uv where
# it is, else by venv and pip; Node's by npm into $1/node; redis-server by apt-get for root. What cannot be had here is said, and the
# benchmarks report it as missing. Nothing is done again while the stamp $1/.ready is newer than the pins.
set -eu
peers=$1
pins=benchmarks/peers
stamp=$peers/.ready
complete=yes

miss() {
  echo "$1" >&2
  complete=no
}

newest_python() {
  # oban needs 3.12: an older one only if there is nothing else.
  for least in 12 11; do
    for python in python3.14 python3.13 python3.12 python3 python3.11; do
      if "$python" -c "import sys; sys.exit(sys.version_info < (3, $least))" >/dev/null 2>&1; then
        echo "$python"
        return
      fi
    done
  done
  echo "No Python 3.11 or newer is on the PATH: install one, for example by apt-get install python3 python3-venv." >&2
  exit 1
}

install() {
  if command -v uv >/dev/null 2>&1; then
    uv pip install --quiet --python "$peers/bin/python" "$@"
  else
    "$peers/bin/python" -m pip install --quiet --disable-pip-version-check "$@"
  fi
}

make_environment() {
  if command -v uv >/dev/null 2>&1; then
    uv venv --quiet --python '>=3.12' "$peers" || uv venv --quiet --python '>=3.11' "$peers"
  else
    python=$(newest_python)
    "$python" -m venv "$peers" || {
      rm -rf "$peers"
      echo "This Python cannot make virtual environments: install its venv module (apt-get install python3-venv)." >&2
      exit 1
    }
  fi
}

install_python_packages() {
  "$peers/bin/python" -c '' 2>/dev/null || make_environment
  install --requirement "$pins/requirements.txt" && return
  echo "Not all peers can be installed together; now one by one." >&2
  one=$peers/one-requirement.txt
  sed '/^#/d; /^$/d' "$pins/requirements.txt" | while IFS= read -r requirement; do
    echo "$requirement" >"$one"
    install --requirement "$one" </dev/null || echo "Not to be had here: $requirement" >&2
  done
  rm -f "$one"
  complete=no
}

install_node_packages() {
  if ! command -v npm >/dev/null 2>&1; then
    miss "No npm: BullMQ will be missing (apt-get install nodejs npm)."
    return
  fi
  mkdir -p "$peers/node"
  cp "$pins/package.json" "$peers/node/package.json"
  npm install --prefix "$peers/node" --silent --no-audit --no-fund || miss "npm cannot install BullMQ: it will be missing."
}

is_up_to_date() {
  [ -e "$stamp" ] && [ -z "$(find "$pins/requirements.txt" "$pins/package.json" tools/setup-peers.sh -newer "$stamp")" ]
}

if ! is_up_to_date; then
  install_python_packages
  install_node_packages
  if [ "$complete" = yes ]; then touch "$stamp"; fi
fi

if ! command -v redis-server >/dev/null 2>&1; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    (apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends redis-server) >/dev/null 2>&1 || true
  fi
  command -v redis-server >/dev/null 2>&1 ||
    echo "No redis-server: Celery and BullMQ will be missing (apt-get install redis-server)." >&2
fi
