#!/usr/bin/env bash
# Set up (once) and run every check: style, types, architecture, infrastructure, advisories, tests. Options go to pytest.
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
python scripts/audit.py
# In three processes (there is waiting, too, on two cores), file by file, those that take long first.
python -m pytest tests -n 3 --dist loadfile --no-loadscope-reorder "$@"
