# Sourced by the other scripts: makes or refreshes .venv with what requirements.txt pins. Sets $root and $python.
# A second run finds the stamp of the same pins and does nothing.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
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

ensure_venv() {
    local stamp="$root/.venv/requirements.stamp" wanted base
    wanted=$(cat "$root/requirements.txt" "$root"/requirements/*.txt | cksum)
    if [ -x "$python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
        return
    fi
    base=$(find_python) || exit 1
    echo "Setting up $root/.venv (once; takes a minute) ..." >&2
    "$base" -m venv --clear "$root/.venv" || fail "Could not make $root/.venv; on Debian: apt install python3-venv."
    "$python" -m pip install --quiet --disable-pip-version-check --require-hashes -r "$root/requirements.txt" \
        || fail "Could not install what requirements.txt pins; see above."
    printf '%s\n' "$wanted" >"$stamp"
}
