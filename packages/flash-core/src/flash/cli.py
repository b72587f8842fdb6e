"""The ``flash`` command."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from flash import __version__
from flash.serving import ServingFailed, serve
from flash.serving.listener import DEFAULT_PORT
from flash.serving.options import LOG_LEVELS, SERVERS, ServeOptions
from flash.serving.target import explain

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with ``arguments``, or with those of the process; returns its exit code.

    0 after serving, 2 when what was asked for cannot be served, 1 when the app failed.
    """
    options = vars(_parser().parse_args(arguments))
    target = options.pop("target")
    options["reload_paths"] = tuple(options["reload_paths"])
    if options["access_log"] is None:
        options["access_log"] = options["reload"]
    try:
        serve(target, ServeOptions(**options))
    except ServingFailed as failure:
        sys.stderr.write(failure.text)
        return failure.exit_code
    except Exception as error:  # noqa: BLE001 — the boundary of the process.
        text, code = explain(error)
        sys.stderr.write(text)
        return code
    return 0


def _parser() -> argparse.ArgumentParser:
    """Return the parser; but for the target, what it reads is named as in `ServeOptions`."""
    parser = argparse.ArgumentParser(prog="flash", description="Serve Flash apps.")
    parser.add_argument("--version", action="version", version=f"flash {__version__}")
    commands = parser.add_subparsers(metavar="command", required=True)
    run = commands.add_parser(
        "run",
        help="serve an app",
        description="Serve an ASGI app until SIGINT or SIGTERM, then let running requests finish.",
    )
    run.add_argument(
        "target",
        nargs="?",
        default="app:app",
        help="module:attribute or module:factory(); the attribute is app unless named "
        "(default: %(default)s)",
    )
    default = ServeOptions()
    run.add_argument(
        "--bind",
        default=default.bind,
        metavar="ADDRESS",
        help=f"host:port (port {DEFAULT_PORT} unless given), unix:/path or fd://N "
        "(default: %(default)s)",
    )
    run.add_argument(
        "--workers",
        type=int,
        default=default.workers,
        metavar="N",
        help="processes that serve (default: %(default)s)",
    )
    run.add_argument(
        "--server",
        choices=SERVERS,
        default=default.server,
        help="the HTTP server (default: %(default)s)",
    )
    run.add_argument("--reload", action="store_true", help="start again when code changes")
    run.add_argument(
        "--reload-path",
        dest="reload_paths",
        action="append",
        default=[],
        metavar="PATH",
        help="a file or directory in which any change starts again too; may be repeated",
    )
    run.add_argument(
        "--log-level", choices=LOG_LEVELS, help="(default: FLASH_LOG_LEVEL, else info)"
    )
    run.add_argument(
        "--access-log",
        action=argparse.BooleanOptionalAction,
        help="one line for each request (default: with --reload only)",
    )
    run.add_argument(
        "--grace-period",
        type=float,
        default=default.grace_period,
        metavar="SECONDS",
        help="time that running requests may take to finish (default: %(default)g)",
    )
    run.add_argument("--certfile", metavar="PEM", help="the TLS certificate")
    run.add_argument("--keyfile", metavar="PEM", help="its key")
    run.add_argument(
        "--root-path",
        default=default.root_path,
        metavar="PATH",
        help="where a proxy shows the app, such as /sales",
    )
    run.add_argument(
        "--trusted-proxies",
        type=lambda names: tuple(names.split(",")) if names else (),
        default=(),
        metavar="ADDRESSES",
        help="whose X-Forwarded headers to believe: addresses or networks, with commas, or *",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
