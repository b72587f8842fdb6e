"""Asks the workers behind one address, each of which answers for itself alone."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPException
from typing import TYPE_CHECKING
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from flash.errors import ConfigurationError
from flash.top.sample import BadSample, Sample, WorkerId
from flash.top.workers import FORGOTTEN_AFTER, KnownWorkers, Unreachable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from flash.top.sample import Activity

# Which worker answers is chosen for each connection, by the kernel or a proxy. So each round asks
# several times, and more often the more workers have been seen.
MIN_QUESTIONS = 4
MAX_QUESTIONS = 32
# Bytes of an answer that are read.
MAX_ANSWER = 8 << 20


class _NoRedirects(HTTPRedirectHandler):
    """Takes a redirect for a refusal: what names who asks is for the address that was given."""

    def redirect_request(
        self, req: Request, fp: object, code: int, msg: str, headers: object, newurl: str
    ) -> None:
        """Return no further request."""


_opener = build_opener(_NoRedirects)


@dataclass(frozen=True, slots=True)
class Source:
    """Where to ask: the address of an app, and headers by which it knows who asks."""

    url: str
    headers: Mapping[str, str]
    # Seconds.
    timeout: float = 5.0

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise ConfigurationError(
                f"{self.url!r} is no address of an app; write it as in http://127.0.0.1:8050"
            )

    def ask(self) -> bytes:
        """Return one answer, over a connection of its own; raises `Unreachable`."""
        address = f"{self.url.rstrip('/')}/_flash/inspect"
        headers = {"Accept": "application/json", "Connection": "close", **self.headers}
        try:
            request = Request(address, headers=headers)
            with _opener.open(request, timeout=self.timeout) as answer:
                return answer.read(MAX_ANSWER)
        except HTTPError as error:
            said = error.read(300).decode(errors="replace").strip()
            error.close()
            # Nothing that a terminal would follow.
            text = "".join(each for each in said if each.isprintable())
            raise Unreachable(f"{address} answers {error.code}: {text}\n{_REMEDY}") from error
        except (OSError, HTTPException) as error:
            raise Unreachable(f"{address} does not answer: {error}") from error


_REMEDY = (
    "Let Live(app, inspect=…) allow it, and name who asks with --header, as in "
    '--header "Authorization: Bearer …"'
)


class Collector:
    """Asks one address, behind which are all workers; a `Workers`.

    ``ask`` returns one answer and raises `Unreachable`; it is called in several threads at once.
    """

    # Which worker did not answer is not known: it may only not have been met.
    remark = ""

    def __init__(
        self, ask: Callable[[], bytes], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ask = ask
        self._clock = clock
        self._workers = KnownWorkers()

    def collect(self) -> list[Activity]:
        """Ask the workers once more; return what each does, in a stable order.

        Raises `Unreachable` if none of the questions was answered.
        """
        count = min(max(MIN_QUESTIONS, 3 * len(self._workers)), MAX_QUESTIONS)
        newest: dict[WorkerId, Sample] = {}
        failure: Unreachable | None = None
        with ThreadPoolExecutor(min(count, 8)) as threads:
            for answer in [threads.submit(self._one) for _ in range(count)]:
                try:
                    sample = answer.result()
                except Unreachable as error:
                    failure = error
                else:
                    newest[sample.worker] = sample
        if not newest and failure is not None:
            raise failure
        self._workers.add(newest.values())
        self._workers.forget_before(self._clock() - FORGOTTEN_AFTER)
        return self._workers.activities()

    def _one(self) -> Sample:
        body = self._ask()
        try:
            return Sample.parse(body, self._clock())
        except BadSample as error:
            raise Unreachable(
                f"the answer is not that of an app of Flash with a live link ({error})"
            ) from error
