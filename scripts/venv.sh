# Sourced by the other scripts: makes or refreshes virtual environments with what a file of pins says. Sets $root and
# $python. A second run finds the stamp of the same pins and does nothing.

root=$(CDPATH="" cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
python="$root/.venv/bin/python"

fail() { printf '%s\n' "$*" >&2; exit 1; }

# In the repository's directory, so that version managers see its .python-version.
find_python() (
    cd "$root" || exit
    for candidate in ${PYTHON:+"$PYTHON"} python3 python3.12 python3.13 python3.14 python; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; then
            "$candidate" -c 'import sys; print(sys.executable)'
            return
        fi
    done
    fail "No Python 3.12 or newer found: install one, or name it in the variable PYTHON."
)

# The service's own, with what runs and tests it.
ensure_venv() { ensure_environment "$root/.venv" "$root/requirements.txt" "$root"/requirements/{runtime,test}.txt; }

# ensure_environment DIRECTORY PINS [FILES THAT THE PINS INCLUDE]
ensure_environment() {
    local directory=$1 pins=$2 wanted base
    shift
    wanted=$(cat "$@" | cksum)
    if [ -x "$directory/bin/python" ] && [ "$(cat "$directory/requirements.stamp" 2>/dev/null)" = "$wanted" ]; then
        return
    fi
    base=$(find_python) || exit 1
    echo "Setting up $directory (once; takes a minute) ..." >&2
    "$base" -m venv --clear "$directory" || fail "Could not make $directory; on Debian: apt install python3-venv."
    "$directory/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r "$pins" >&2 \
        || fail "Could not install what $pins pins; see above."
    printf '%s\n' "$wanted" >"$directory/requirements.stamp"
}
