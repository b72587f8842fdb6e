#!/bin/sh
# Runs flash-core's tests on the lowest versions it allows and on the newest, pre-releases included,
# each in an environment of its own under .tools; and on the newest, flash-pubsub's of what only that
# Dash has. Arguments go to pytest.
set -eu
cd "$(dirname "$0")/.."
uv=.tools/bin/uv
package=packages/flash-core

run() {
    name=$1
    shift
    environment=.tools/matrix-$name
    $uv venv --quiet --clear --python .venv/bin/python "$environment"
    export VIRTUAL_ENV="$environment"
    # No builds: the lowest version that this interpreter has a wheel for.
    $uv pip install --quiet --no-build "$@" \
        --requirements $package/pyproject.toml --extra granian --extra redis --extra testing --extra uvicorn
    $uv pip install --quiet --group $package/pyproject.toml:test
    $uv pip install --quiet --no-deps --editable $package
    echo "== $name: $($uv pip freeze --quiet | grep -Ei '^(dash|quart|hypercorn|orjson)==' | tr '\n' ' ')"
    "$environment/bin/python" -m pytest --numprocesses 2 $package/tests $pytest_arguments
}

pytest_arguments=$*
run lowest --resolution lowest-direct
run newest --prerelease allow

$uv pip install --quiet --no-build --prerelease allow msgpack
$uv pip install --quiet --no-deps --editable packages/flash-ws --editable packages/flash-pubsub
"$environment/bin/python" -m pytest packages/flash-pubsub/tests/dash_storage $pytest_arguments
