"""`PageIdentities`: the ids and tokens of pages, and what a page was called before."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flash import Flash
    from flash_ws.protocol.frames import Hello

# Characters of a page's token, at least, so that it cannot be guessed.
MIN_TOKEN_LENGTH = 32

# Earlier ids of pages that are kept, at most.
MAX_RENAMED = 1000


class PageIdentities:
    """Tells the id of a page from its secret token, and gives pages other tokens.

    ``token_lifetime``: seconds for which a token is accepted.
    """

    def __init__(self, app: Flash, token_lifetime: float) -> None:
        self._app = app
        self.token_lifetime = token_lifetime
        # By id of a page that got another identity: its present id. Callbacks that the page sent
        # before it knew carry the earlier one. The oldest are removed.
        self._renamed: dict[str, str] = {}

    def id_of(self, token: str) -> str:
        """Return the id of the page that has this token."""
        page_id = self._app.page_of(token)
        if page_id is not None:
            return page_id
        # Signed with another key: before a restart, or by a worker that does not share the key. The
        # page gets an id that no signed token can have.
        return "u-" + hashlib.sha256(token.encode()).hexdigest()[:24]

    def present_id_of(self, token: str) -> str:
        """Return the id that the page with this token has now."""
        page_id = self.id_of(token)
        return self._renamed.get(page_id, page_id)

    def usable(self, token: str | None) -> str:
        """Return the token that a page has sent, or a new one if it cannot be a page's."""
        if token is None or len(token) < MIN_TOKEN_LENGTH:
            return self._app.new_page_identity()
        return token

    def copied(self, token: str) -> str:
        """Return a token for a copy of the page with this token, such as a duplicated tab."""
        return self._app.new_page_identity(token)

    def replaced(self, token: str) -> str:
        """Return another token for the page itself, which is found by the id of before, too."""
        other = self._app.new_page_identity(token)
        self._renamed[self.id_of(token)] = self.id_of(other)
        if len(self._renamed) > MAX_RENAMED:
            del self._renamed[next(iter(self._renamed))]
        return other

    def without_expired(self, hello: Hello) -> Hello:
        """Give a page whose token is too old another identity: it counts as a new page."""
        token = hello.token
        if token is None or self._app.page_of(token) is None:
            return hello
        if self._app.page_identity_age(token) <= self.token_lifetime:
            return hello
        return replace(hello, token=self.replaced(token))

    def renewed(self, token: str) -> str | None:
        """Return a younger token for the same page if half of the lifetime has passed."""
        age = self._app.page_identity_age(token)
        if age < self.token_lifetime / 2 or self._app.page_of(token) is None:
            return None
        return self._app.renewed_page_identity(token)
