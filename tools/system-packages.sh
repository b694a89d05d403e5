#!/bin/sh
# Install what the patterns of examples/ use beside Python, as far as it is missing and apt-get may do it; else say what is missing.
set -eu

missing=
need() { PATH="$PATH:/usr/sbin" command -v "$1" >/dev/null 2>&1 || missing="$missing $2"; }
look() {
  missing=
  need tesseract tesseract-ocr
  need nats-server nats-server
}

look
[ -n "$missing" ] || exit 0
if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
  # shellcheck disable=SC2086 - a list of words
  (apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends $missing) >/dev/null 2>&1 || true
  look
fi
if [ -n "$missing" ]; then
  echo "Missing:$missing. The patterns that use them say how to get them: examples/documents, examples/stream." >&2
fi
