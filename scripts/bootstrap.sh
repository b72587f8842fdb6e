#!/bin/sh
# Puts uv into .tools and the workspace into .venv. The system's Python is read, never changed.
# PYTHON=/path/to/python3 names the interpreter to use.
set -eu
cd "$(dirname "$0")/.."
export UV_PROJECT_ENVIRONMENT=.venv

find_python() {
    for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    echo "Flash needs Python 3.11 or newer; none of these is: ${PYTHON:-python3, python3.11 to python3.14}." >&2
    echo "Install one (Debian, Ubuntu: apt-get install python3 python3-venv), or name it: make test PYTHON=/path/to/python3" >&2
    return 1
}

if ! .tools/bin/uv --version >/dev/null 2>&1; then
    python=$(find_python)
    # Debian and Ubuntu keep the half of venv that brings pip in a package of its own. It belongs to
    # the system's Python, and its upgrade would be one of Python: that is left to the owner.
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        minor=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        echo "$python cannot make virtual environments." >&2
        echo "Install what is missing (Debian, Ubuntu: apt-get install python$minor-venv), then run this again." >&2
        exit 1
    fi
    rm -rf .tools
    "$python" -m venv .tools
    .tools/bin/python -m pip install --quiet --disable-pip-version-check 'uv>=0.9,<1'
fi

if ! .venv/bin/python --version >/dev/null 2>&1; then
    python=$(find_python)
    .tools/bin/uv venv --quiet --clear --python "$python" .venv
fi
.tools/bin/uv sync
