"""The guides of `docs/`, whose code the tests run as it is written."""

import json
import re
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

DOCS = Path(__file__).parents[2] / "docs"
# Seconds that something may take which is not broken.
PATIENCE = 30


class Document:
    """One guide."""

    def __init__(self, name):
        self.text = (DOCS / name).read_text(encoding="utf-8")

    def blocks(self, language):
        """Its code blocks in ``language``, by the heading they stand under."""
        found = {}
        heading = None
        pattern = rf"^## ([^\n]+)$|^```{language}\n(.*?)^```$"
        for match in re.finditer(pattern, self.text, re.MULTILINE | re.DOTALL):
            if match[1] is not None:
                heading = match[1]
            else:
                assert heading not in found, f"a test runs one block under each heading: {heading}"
                found[heading] = match[2]
        return found


def connected(tab):
    """Return a tab once its layout and its link are there."""
    tab.wait_for(lambda: not tab.run_js("return document.querySelector('._dash-loading')"))
    tab.wait_for(lambda: tab.run_js("return window.flash?.statistics().status") == "open")
    return tab


def fetch(url, *, method="GET", json_body=None, **headers):
    """Return the status and the text that an address answers with."""
    body = None
    if json_body is not None:
        body = json.dumps(json_body).encode()
        headers["Content-Type"] = "application/json"
    request = Request(url, body, method=method, headers=headers)
    try:
        with urlopen(request, timeout=PATIENCE) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()
