#!/usr/bin/env bash
# Set up (once) and run the benchmarks, or the one that is named (`bench.sh listing --rounds 100`).
set -euo pipefail
. "$(dirname "$0")/venv.sh"
ensure_venv
cd "$root"
if [ $# -gt 0 ]; then
    exec "$python" -m "bench.${1//-/_}" "${@:2}"
fi
for path in bench/[a-z]*.py; do
    name=$(basename "$path" .py)
    echo "== $name"
    "$python" -m "bench.$name"
done
