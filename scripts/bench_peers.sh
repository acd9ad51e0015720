#!/bin/sh
# Installs the gateways that `make bench BENCH=gateway` compares with: for measuring only, apart from
# everything that the product uses. Called by make, with a folder and an interpreter.
set -eu

folder=$1
python=$2

# The newest whose dependencies can all be had.
"$python" -m venv "$folder/litellm"
"$folder/litellm/bin/pip" install --quiet --disable-pip-version-check 'litellm[proxy]==1.106.0'

if command -v npm >/dev/null; then
    mkdir -p "$folder/portkey"
    # It leaves the versions of its server open, and broke with some of them.
    npm install --silent --no-audit --no-fund --prefix "$folder/portkey" \
        @portkey-ai/gateway@1.15.2 @hono/node-server@1.19.19 @hono/node-ws@1.3.1 hono@4.13.19
else
    echo "npm is missing: Portkey's gateway is left out" >&2
fi
