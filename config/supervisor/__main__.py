"""The command line of `manage.py up`. Loads none of the apps."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

OPTIONS = {
    "--data-dir": ("DATA_DIR", "folder for data and generated secrets (default: var)"),
    "--ports": ("PORTS", "ports, comma-separated (default: 8000,8080,8091)"),
    "--host": ("HOST", "address to listen on (default: 127.0.0.1)"),
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `up`; each wins over the environment variable of its name."""
    for option, (variable, text) in OPTIONS.items():
        parser.add_argument(option, dest=variable, help=f"{text}; also {variable}")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="manage.py up")
    add_options(parser)
    for variable, value in vars(parser.parse_args(arguments)).items():
        if value is not None:
            # A path on the command line is meant from where the operator stands.
            os.environ[variable] = str(Path(value).absolute()) if variable == "DATA_DIR" else value
    # The settings read the environment when they are loaded.
    from config.supervisor.up import run

    return run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
