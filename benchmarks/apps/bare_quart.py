"""The limit of Quart: a view that parses the body and answers a callback's JSON."""

from __future__ import annotations

import json
from typing import Any

from quart import Quart, Response, request

app = Quart(__name__)


@app.post("/_dash-update-component")
async def _answer() -> Response:
    body: dict[str, Any] = await request.get_json()
    text = f"async {body['inputs'][0]['value']}"
    answer = {"multi": True, "response": {"async-answer": {"children": text}}}
    return Response(json.dumps(answer), content_type="application/json")
