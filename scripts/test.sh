#!/usr/bin/env bash
# Set up (once) and run every check: style, types, architecture, infrastructure, tests. Options go to pytest.
set -euo pipefail
. "$(dirname "$0")/venv.sh"
ensure_venv
cd "$root"
PATH="$root/.venv/bin:$PATH"
ruff check .
ruff format --check .
mypy
lint-imports --no-logo
cfn-lint infra/template.yaml
python -m pytest tests "$@"
