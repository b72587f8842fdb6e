"""A page's side of Dash's own WebSocket."""

import json

from flash.testing import FlashClient


def a_body(value, output="out.children"):
    return {
        "output": output,
        "outputs": {"id": "out", "property": "children"},
        "inputs": [{"id": "in", "property": "value", "value": value}],
        "changedPropIds": ["in.value"],
    }


class Page:
    """One page's socket."""

    def __init__(self, app, headers=None):
        self._app = app
        self._headers = headers or {}
        self._seen = []

    async def __aenter__(self):
        self._client = FlashClient(self._app)
        await self._client.__aenter__()
        headers = {"Origin": "http://localhost", "Host": "localhost", **self._headers}
        self._opening = self._app.server.test_client().websocket(
            "/_dash-ws-callback", headers=headers
        )
        self.socket = await self._opening.__aenter__()
        return self

    async def __aexit__(self, *error):
        await self._opening.__aexit__(*error)
        await self._client.__aexit__(*error)

    async def send(self, **message):
        await self.socket.send(json.dumps(message))

    async def call(self, value, *, output="out.children", request_id="1"):
        body = a_body(value, output)
        await self.send(type="callback_request", rendererId="r", requestId=request_id, payload=body)

    async def message(self):
        while not self._seen:
            received = json.loads(await self.socket.receive())
            self._seen += received if isinstance(received, list) else [received]
        return self._seen.pop(0)
