"""The checks of ``flash check --migrate``: what to change in an app of Dash."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash.checking.blocking import blocking_calls
from flash.checking.dash_calls import import_lines, run_arguments
from flash.checking.flask_calls import extensions, request_classes, wsgi_middleware
from flash.checking.serve_commands import wsgi_commands

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from flash.checking.finding import Finding
    from flash.checking.project import Project

    Check = Callable[[Project], Iterable[Finding]]

MIGRATION: tuple[Check, ...] = (
    import_lines,
    run_arguments,
    extensions,
    wsgi_middleware,
    request_classes,
    blocking_calls,
    wsgi_commands,
)
