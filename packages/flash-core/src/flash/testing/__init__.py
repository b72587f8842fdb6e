"""The test kit for Dash apps: tests without a browser, and tests in Chromium.

In comes an app or the name of one; out come layouts, callback results, responses and pages.
Called by users' tests; the fixtures for a browser are in ``flash.testing.plugin``.
"""

from flash.moved import renamed_exports
from flash.testing.asgi import Exchange as Exchange
from flash.testing.asgi import Headers as Headers
from flash.testing.asgi import Response as Response
from flash.testing.calls import CallbackResult as CallbackResult
from flash.testing.client import FlashClient as FlashClient
from flash.testing.cookies import Cookies as Cookies
from flash.testing.errors import BrowserMissing as BrowserMissing
from flash.testing.errors import CallbackFailed as CallbackFailed
from flash.testing.errors import CallbackNotFound as CallbackNotFound
from flash.testing.errors import IncompleteResponse as IncompleteResponse
from flash.testing.errors import PageFailed as PageFailed
from flash.testing.errors import ServerDied as ServerDied
from flash.testing.errors import ServerStuck as ServerStuck
from flash.testing.errors import StartupFailed as StartupFailed
from flash.testing.errors import UnexpectedConsoleErrors as UnexpectedConsoleErrors
from flash.testing.errors import WaitTimeout as WaitTimeout
from flash.testing.http import AppClient as AppClient
from flash.testing.layout import Node as Node
from flash.testing.process import AppProcess as AppProcess

__all__ = [
    "AppClient",
    "AppProcess",
    "BrowserMissing",
    "CallbackFailed",
    "CallbackNotFound",
    "CallbackResult",
    "Cookies",
    "Exchange",
    "FlashClient",
    "Headers",
    "IncompleteResponse",
    "Node",
    "PageFailed",
    "Response",
    "ServerDied",
    "ServerStuck",
    "StartupFailed",
    "UnexpectedConsoleErrors",
    "WaitTimeout",
]

# The names of earlier releases.
__getattr__ = renamed_exports(__name__, {"NoAnswer": "IncompleteResponse"})
