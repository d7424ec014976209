#!/usr/bin/env bash
# Set up (once) and run the service. Options and environment variables are those of `image-service serve`.
set -euo pipefail
. "$(dirname "$0")/venv.sh"
ensure_venv
# Not cd: a relative DATA_DIR is the caller's.
PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}" exec "$python" -m src serve "$@"
