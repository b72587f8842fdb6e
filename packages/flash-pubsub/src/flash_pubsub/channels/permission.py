"""Which pages may read a channel: what `authorize` says, and what was taken from a page."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flash.access.admission import AUTHORIZE_TIMEOUT
from flash.exits import ends_task
from flash.log_limit import limited_logger
from flash_ws.clients.visiting import visiting

if TYPE_CHECKING:
    from flash import Flash
    from flash_pubsub.channels.declaration import Declarations
    from flash_ws.clients.client import LinkedClient as Client

logger = limited_logger(__name__)

# Pages and channels taken from them that are kept; beyond it the oldest is forgotten.
MAX_WITHDRAWN = 10_000

# Functions of `authorize` with the variables of the channel's name.
Guards = list[tuple[Callable[..., Any], dict[str, str]]]


class Permissions:
    """Asks the `authorize` functions of one app about pages of this worker."""

    def __init__(self, app: Flash, declarations: Declarations) -> None:
        self._app = app
        self._declarations = declarations
        # Clients and channels that the app has taken from them, the oldest first.
        self._withdrawn: dict[tuple[str, str], None] = {}

    def guards(self, channel: str) -> Guards:
        """Return the functions that decide who may read a channel, with their arguments."""
        return [
            (guard, variables)
            for pattern, guard in self._declarations.guards
            if (variables := pattern.match(channel)) is not None
        ]

    async def ask(self, client: Client, channel: str, guards: Guards) -> bool:
        """Ask all functions; raises what they raise, and `CallbackTimeout`.

        They have `AUTHORIZE_TIMEOUT` seconds together.
        """
        what = f"authorize({channel!r})"
        async with visiting(client, what, AUTHORIZE_TIMEOUT) as visitor:
            for guard, variables in guards:
                if not await self._app.pool.call(guard, visitor, **variables):
                    return False
        return True

    async def allow(self, client: Client, channel: str, guards: Guards) -> bool:
        """Ask all functions; one that fails denies the channel, and is logged."""
        try:
            return await self.ask(client, channel, guards)
        except BaseException as error:
            # An application's function.
            if ends_task(error):
                raise
            logger.exception("authorize failed; %.80r is denied to %r", channel, client)
            return False

    def withdraw(self, client_id: str, channel: str) -> None:
        """Deny a channel to a page for as long as the page is loaded.

        All workers keep it, since the page may continue on another one.
        """
        self._withdrawn.pop((client_id, channel), None)
        self._withdrawn[client_id, channel] = None
        if len(self._withdrawn) > MAX_WITHDRAWN:
            del self._withdrawn[next(iter(self._withdrawn))]

    def is_withdrawn(self, client: Client, channel: str) -> bool:
        """Tell whether the app has taken a channel from a page."""
        return (client.id, channel) in self._withdrawn
