"""The ``flash`` command."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flash import __version__
from flash.errors import ConfigurationError, FlashError
from flash.serving import ServingFailed, serve
from flash.serving.listener import DEFAULT_PORT
from flash.serving.options import LOG_LEVELS, SERVERS, ServeOptions
from flash.serving.target import FAILURE_EXIT, USAGE_EXIT, Target, explain, import_from_here

if TYPE_CHECKING:
    from collections.abc import Sequence

# Where an app is that was started without --bind.
_DEFAULT_ADDRESS = f"http://127.0.0.1:{DEFAULT_PORT}"
# The environment variables that name the Redis of the workers' broker; the first counts.
_REDIS_VARIABLES = ("FLASH_BROKER_URL", "FLASH_REDIS_URL")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with ``arguments``, or with those of the process; returns its exit code.

    ``run``: 0 after serving, 2 when what was asked for cannot be served, 1 when the app failed.
    ``check``: 0 when there is nothing to change, 1 when there is, 2 when the app cannot be checked.
    ``new``: 0 when the files are written, 2 when they cannot be.
    ``top``: 0 when it was ended by hand, 2 when nothing answers.
    """
    options = vars(_parser().parse_args(arguments))
    return options.pop("command")(options)


def _run(options: dict[str, Any]) -> int:
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


def _check(options: dict[str, Any]) -> int:
    target = options.pop("target")
    migrates, checks_security = options["migrate"], options["deploy"] or not options["migrate"]
    codes = [_check_migration(target, options)] if migrates else []
    if checks_security:
        codes.append(_check_security(target, options))
    return max(codes)


def _check_security(target: str, options: dict[str, Any]) -> int:
    from flash.checking.report import risks_as_json, risks_as_text
    from flash.checking.security import Deployment, run_security_checks

    import_from_here()
    try:
        apps = _apps_of(Target.parse(target).find())
    except Exception as error:  # noqa: BLE001 — the boundary of the process.
        sys.stderr.write(f"{target} was not imported, so it was not checked:\n{explain(error)[0]}")
        return USAGE_EXIT
    if not apps:
        sys.stderr.write(f"flash: {target} has no app of Flash, so it was not checked\n")
        return USAGE_EXIT
    public, workers = options["deploy"], options["workers"]
    risks = sorted(
        {risk for app in apps for risk in run_security_checks(Deployment(app, public, workers))}
    )
    write = risks_as_json if options["json"] else risks_as_text
    sys.stdout.write(write(target, risks))
    return FAILURE_EXIT if risks else 0


def _apps_of(found: object) -> list[Any]:
    """Return the Flash apps that ``found`` is or serves."""
    from flash.app import Flash
    from flash.http.gateway import Gateway

    if isinstance(found, Flash):
        return [found]
    extensions = getattr(found, "extensions", None)
    gateways = extensions.values() if isinstance(extensions, dict) else ()
    return [app for each in gateways if isinstance(each, Gateway) for app in each.apps]


def _check_migration(target: str, options: dict[str, Any]) -> int:
    # Here, since `flash run` needs none of them.
    from flash.checking.migration import MIGRATION
    from flash.checking.project import Project
    from flash.checking.report import as_json, as_text, run_checks

    import_from_here()
    app, failure = None, ""
    try:
        app = Target.parse(target).find()
    except Exception as error:  # noqa: BLE001 — the boundary of the process.
        failure = explain(error)[0]
    # Also where the import fails: what is listed may be the reason.
    project = Project.read(Path.cwd(), app)
    findings = run_checks(project, MIGRATION)
    sys.stdout.write(
        as_json(target, findings) if options["json"] else as_text(target, project, findings)
    )
    if failure:
        sys.stderr.write(f"{target} was not imported, only the files were read:\n{failure}")
        return USAGE_EXIT
    return FAILURE_EXIT if findings else 0


def _new(options: dict[str, Any]) -> int:
    # Here, since `flash run` needs none of it.
    from flash.starter.project import NewProject, missing_packages, title_of, write_project

    folder = Path(options["folder"])
    title = options["title"] or title_of(folder)
    has = {name: options[name] for name in ("login", "redis")}
    try:
        paths = write_project(folder, NewProject(title, __version__, **has))
    except (ConfigurationError, OSError) as error:
        sys.stderr.write(f"flash: {error}\n")
        return USAGE_EXIT
    steps = [f"cd {shlex.quote(options['folder'])}"]
    if missing_packages():
        steps.append("pip install -r requirements-dev.txt")
    if options["login"]:
        steps.append("python login.py YOUR-NAME    # sets a password")
    steps += ["flash run --reload", "pytest"]
    sys.stdout.write(f"{title}: {len(paths)} files in {folder}. Next:\n\n")
    sys.stdout.writelines(f"    {step}\n" for step in steps)
    return 0


def _top(options: dict[str, Any]) -> int:
    # Here, since `flash run` needs none of them.
    from flash.top.workers import Unreachable

    packages = {"rich": "top"} if options["redis"] is None else {"rich": "top", "redis": "redis"}
    for package, extra in packages.items():
        if find_spec(package) is None:
            sys.stderr.write(
                f'flash: flash top needs {package}: pip install "flash-core[{extra}]"\n'
            )
            return USAGE_EXIT
    try:
        if options["redis"] is None:
            _watch_address(options)
        else:
            _watch_redis(options)
    except (FlashError, Unreachable) as error:
        sys.stderr.write(f"flash: {error}\n")
        return USAGE_EXIT
    except KeyboardInterrupt:
        pass
    return 0


def _watch_address(options: dict[str, Any]) -> None:
    from flash.top.collector import Collector, Source
    from flash.top.screen import show

    address = options["url"] or _DEFAULT_ADDRESS
    headers = [each.partition(":") for each in options["headers"]]
    if unread := [name for name, colon, _ in headers if not (name.strip() and colon)]:
        raise ConfigurationError(f'--header {unread[0]!r} is not of the form "Name: value"')
    source = Source(address, {name.strip(): value.strip() for name, _, value in headers})
    show(Collector(source.ask), address, options["interval"], once=options["once"])


def _watch_redis(options: dict[str, Any]) -> None:
    from flash.top.redis_workers import RedisWorkers
    from flash.top.screen import show

    if options["url"] or options["headers"]:
        raise ConfigurationError(
            f"--redis asks all workers by their Redis, so {options['url'] or '--header'} has no "
            "effect; leave out one of the two"
        )
    url = options["redis"] or next(filter(None, map(os.environ.get, _REDIS_VARIABLES)), None)
    if url is None:
        raise ConfigurationError(
            f"--redis needs an address, as in --redis redis://127.0.0.1:6379/0, or one of "
            f"{' and '.join(_REDIS_VARIABLES)}"
        )
    with RedisWorkers(url) as workers:
        show(workers, str(workers.address), options["interval"], once=options["once"])


def _interval(text: str) -> float:
    seconds = float(text)
    if not 0.2 <= seconds <= 3600:
        raise argparse.ArgumentTypeError(f"{text} is not between 0.2 and 3600 seconds")
    return seconds


def _parser() -> argparse.ArgumentParser:
    """Return the parser; what it reads of ``run`` is named as in `ServeOptions`."""
    parser = argparse.ArgumentParser(
        prog="flash", description="Make, serve, check and watch Flash apps."
    )
    parser.add_argument("--version", action="version", version=f"flash {__version__}")
    commands = parser.add_subparsers(metavar="command", required=True)
    run = commands.add_parser(
        "run",
        help="serve an app",
        description="Serve an ASGI app until SIGINT or SIGTERM, then let running requests finish.",
    )
    run.set_defaults(command=_run)
    _add_target(run)
    run.add_argument(
        "--install",
        action="store_true",
        help="let dash.Dash be Flash, for an app written for Dash that is not to be changed",
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
        help="the HTTP server; hypercorn speaks HTTP/2 (default: %(default)s)",
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
    check = commands.add_parser(
        "check",
        help="list what an app leaves open, or what to change in it",
        description="Import an app, start nothing, and list what it leaves open, each with the "
        "remedy; with --deploy also what matters only where it is served to others. With --migrate "
        "read the Python files and the start commands below the working directory instead, and "
        "list what to change, each with file, line and remedy; a comment with the words `flash: "
        "keep`, on the line or above it, keeps a line out of that list. Exits with 0 when there is "
        "nothing to change, 1 when there is, 2 when the app cannot be imported.",
    )
    check.set_defaults(command=_check)
    _add_target(check)
    check.add_argument(
        "--migrate",
        action="store_true",
        help="what to change in an app of Dash, to be served by Flash",
    )
    check.add_argument(
        "--deploy", action="store_true", help="also what matters where the app is served to others"
    )
    check.add_argument(
        "--workers",
        type=int,
        default=1,
        metavar="N",
        help="processes that are to serve it (default: %(default)s)",
    )
    check.add_argument("--json", action="store_true", help="write JSON, for programs")
    new = commands.add_parser(
        "new",
        help="make an app to begin with",
        description="Write a small app to a folder that is empty or new: live readings, a setting "
        "that all visitors share, a query, tests, a Dockerfile and a README that says how to go "
        "on. Exits with 0 when it is written, 2 when it cannot be.",
    )
    new.set_defaults(command=_new)
    new.add_argument("folder", metavar="DIR", help="where to write it")
    new.add_argument("--title", help="what its page is called (default: as the folder)")
    new.add_argument("--login", action="store_true", help="only for who has a name and a password")
    new.add_argument("--redis", action="store_true", help="for several workers, around a Redis")
    top = commands.add_parser(
        "top",
        help="watch the workers of an app in the terminal",
        description="Show what the workers behind an address do: pages, messages and callbacks a "
        "second, what waits, threads, lag. By URL it reads /_flash/inspect, which "
        "Live(app, inspect=...) has to allow; with debug=True it is open to the same machine. Each "
        "worker answers for itself, so the address is asked several times in each round. With "
        "--redis all workers with flash-pubsub on that Redis answer at once. Exits with 2 if "
        "nothing answers at the start.",
    )
    top.set_defaults(command=_top)
    top.add_argument(
        "url",
        metavar="URL",
        nargs="?",
        help=f"where the app is, with its prefix (default: {_DEFAULT_ADDRESS})",
    )
    top.add_argument(
        "--redis",
        metavar="ADDRESS",
        nargs="?",
        const="",
        help="ask all workers by the Redis that they share, without URL and headers (default: "
        f"{' or '.join(_REDIS_VARIABLES)})",
    )
    top.add_argument(
        "--header",
        dest="headers",
        action="append",
        default=[],
        metavar="NAME:VALUE",
        help="sent with each question, such as a token or a cookie; may be repeated",
    )
    top.add_argument(
        "--interval",
        type=_interval,
        default=2.0,
        metavar="SECONDS",
        help="from one round to the next (default: %(default)g)",
    )
    top.add_argument("--once", action="store_true", help="print one table and end")
    return parser


def _add_target(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "target",
        nargs="?",
        default="app:app",
        help="module:attribute or module:factory(); the attribute is app unless named "
        "(default: %(default)s)",
    )


if __name__ == "__main__":
    sys.exit(main())
