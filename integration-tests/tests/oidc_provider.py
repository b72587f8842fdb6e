"""An OpenID provider of its own, for tests of logins: it lets everybody in at once."""

import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

from joserfc import jwk, jwt

KEY = jwk.RSAKey.generate_key(2048, {"kid": "test"}, private=True)


class Provider(BaseHTTPRequestHandler):
    """Its codes are the nonces of the requests, so that it need not remember any."""

    def do_GET(self):
        address = f"http://127.0.0.1:{self.server.server_port}"
        if self.path == "/.well-known/openid-configuration":
            self.reply(
                issuer=address,
                authorization_endpoint=f"{address}/authorize",
                token_endpoint=f"{address}/token",
                jwks_uri=f"{address}/keys",
                id_token_signing_alg_values_supported=["RS256"],
            )
        else:
            self.reply(keys=[KEY.as_dict(private=False)])

    def do_POST(self):
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        if form["code"] == ["wrong"]:
            self.reply(400, error="invalid_grant", error_description="wrong code")
            return
        claims = {
            "iss": f"http://127.0.0.1:{self.server.server_port}",
            "sub": "1",
            "aud": "client",
            "iat": int(time.time()),
            "exp": int(time.time()) + 600,
            "nonce": form["code"][0],
            "email": "ann@example.org",
            "groups": ["admin"],
        }
        token = jwt.encode({"alg": "RS256", "kid": "test"}, claims, KEY)
        self.reply(access_token="access", token_type="Bearer", expires_in=600, id_token=token)

    def reply(self, status=200, **content):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@contextmanager
def provider():
    """Serve the provider; yields its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Provider)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
