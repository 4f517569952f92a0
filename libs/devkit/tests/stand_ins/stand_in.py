"""A service that is only its environment contract: it answers /readyz and, as gateway, gives clients tokens.

`STAND_IN_BROKEN=<service>` makes that service end at its start with a word why.
"""

import hashlib
import json
import os
import sys
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._answer(200 if self.path == "/readyz" else 404, {})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if self.path == "/v1/customers":
            self._answer(201, json.loads(body))
            return
        form = dict(urllib.parse.parse_qsl(body))
        digest = hashlib.sha256(form["client_secret"].encode()).hexdigest()
        clients = json.loads(Path(os.environ["ORDERLOOP_CLIENTS_FILE"]).read_text())
        known = any(c["client_id"] == form["client_id"] and c["client_secret_sha256"] == digest for c in clients)
        self._answer(200 if known else 401, {"access_token": "token"})

    def _answer(self, status: int, body: dict[str, str]) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())


def main(name: str) -> None:
    for variable in ("DATABASE_URL", "KAFKA", "HOST", "JWKS", "ISSUER"):
        assert os.environ[f"ORDERLOOP_{variable}"]
    if sys.argv[1] == "all":
        if os.environ.get("STAND_IN_BROKEN") == name:
            sys.exit("the stand-in was told to break")
        ThreadingHTTPServer(("127.0.0.1", int(os.environ["ORDERLOOP_PORT"])), _Handler).serve_forever()
