#!/usr/bin/env bash
# Set up (once) and run every check: style, types, architecture, infrastructure, advisories, tests. Options go to pytest.
set -euo pipefail
. "$(dirname "$0")/venv.sh"

# Make a directory for the tests' files: in memory, where there are some GB of it from which programs may be run. On a
# disk thousands of tests would wait until what they write is safe.
make_scratch() {
    local least=$((4 * 1024 * 1024)) directory  # KiB
    if [ -w /dev/shm ] && df -Pk /dev/shm | awk -v least=$least 'END { exit $4 < least }' \
        && awk -v least=$least '/^MemAvailable:/ { exit $2 < 2 * least }' /proc/meminfo; then
        directory=$(mktemp -d /dev/shm/image-service-tests.XXXXXX)
        if cp "$(command -v env)" "$directory/" && "$directory/env" true 2>/dev/null; then
            echo "$directory"
            return
        fi
        rm -rf "$directory"
    fi
    mktemp -d "${TMPDIR:-/tmp}/image-service-tests.XXXXXX"
}

ensure_venv
cd "$root"
PATH="$root/.venv/bin:$PATH"
ruff check .
ruff format --check .
mypy
lint-imports --no-logo
cfn-lint infra/template.yaml
python scripts/audit.py
unset PYTHONDONTWRITEBYTECODE  # or every server that a test starts would compile what it runs
scratch=$(make_scratch) status=0
trap '[ "$status" = 1 ] || rm -rf "$scratch"' EXIT  # what failed leaves its files
# In two processes, file by file, those that take long first: browsers and servers of their own need the rest.
python -m pytest tests -n 2 --dist loadfile --no-loadscope-reorder --basetemp "$scratch/tests" "$@" || status=$?
exit "$status"
