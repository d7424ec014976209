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
# In two processes, file by file, those that take long first: browsers and servers of their own need the rest.
python -m pytest tests -n 2 --dist loadfile --no-loadscope-reorder "$@"
