#!/usr/bin/env bash
# Set up (once) and run the benchmarks, or the one that is named (`bench.sh listing --rounds 100`).
set -euo pipefail
. "$(dirname "$0")/venv.sh"
ensure_venv
cd "$root"
exec "$python" -m bench "$@"
