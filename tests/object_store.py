"""A small store of objects for tests: what S3 and Google Cloud Storage answer to GET, HEAD and lists."""

from __future__ import annotations

import http.server
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape


@dataclass
class Asked:
    """A request that came."""

    method: str
    path: str
    headers: Mapping[str, str]


@dataclass
class ObjectStore:
    """Objects by `/bucket/key`, and what was asked for."""

    url: str
    objects: dict[str, bytes] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    #: The region of all buckets: requests signed for another one are sent away.
    region: str = ""
    #: Answers that come first, as statuses.
    refusals: list[int] = field(default_factory=list)
    #: Whether bodies break off in their middle.
    breaking: bool = False
    #: The role, and the token by which it is had, as AWS's token service names them.
    role: dict[str, str] = field(default_factory=dict)


_KEYS = (
    "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>"
    "<AccessKeyId>of-the-role</AccessKeyId><SecretAccessKey>hush</SecretAccessKey>"
    "<SessionToken>session</SessionToken><Expiration>2099-01-02T03:04:05Z</Expiration>"
    "</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
)


def _listing(objects: Mapping[str, bytes], bucket: str, prefix: str) -> bytes:
    keys = [path.removeprefix(f"/{bucket}/") for path in objects if path.startswith(f"/{bucket}/{prefix}")]
    flat = [key for key in keys if "/" not in key.removeprefix(prefix)]
    deeper = {key[: key.index("/", len(prefix)) + 1] for key in keys if key not in flat}
    rows = [
        f"<Contents><Key>{escape(key)}</Key><Size>{len(objects[f'/{bucket}/{key}'])}</Size>"
        '<LastModified>2026-01-02T03:04:05.000Z</LastModified><ETag>"1"</ETag></Contents>'
        for key in sorted(flat)
    ]
    rows += [f"<CommonPrefixes><Prefix>{escape(each)}</Prefix></CommonPrefixes>" for each in sorted(deeper)]
    return f"<ListBucketResult><Name>{bucket}</Name>{''.join(rows)}</ListBucketResult>".encode()


@contextmanager
def object_store(tls: ssl.SSLContext | None = None) -> Iterator[ObjectStore]:
    """A store on a free port of this machine."""

    class Requests(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            store.asked.append(Asked(self.command, self.path, dict(self.headers.items())))
            status, body = self._answer()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Last-Modified", formatdate(0, usegmt=True))
            self.send_header("ETag", '"1"')
            if store.region:
                self.send_header("x-amz-bucket-region", store.region)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body[: len(body) // 2] if store.breaking else body)
                self.close_connection = True

        do_HEAD = do_GET

        def do_POST(self) -> None:
            """As AWS's token service: keys for a role and the token of whoever may have it."""
            form = parse_qs(self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode())
            asked = parse_qs(urlsplit(self.path).query) | form
            given = {name: asked.get(name, [""])[0] for name in ("Action", "RoleArn", "WebIdentityToken")}
            known = given == {"Action": "AssumeRoleWithWebIdentity", **store.role}
            body = _KEYS.encode() if known else b"<Error><Code>AccessDenied</Code></Error>"
            self.send_response(200 if known else 403)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _answer(self) -> tuple[int, bytes]:
            if store.refusals:
                return store.refusals.pop(0), b"<Error><Code>SlowDown</Code></Error>"
            if store.region and f"/{store.region}/s3/" not in self.headers.get("Authorization", ""):
                return 301, b"<Error><Code>PermanentRedirect</Code></Error>"
            parts = urlsplit(self.path)
            path = unquote(parts.path)
            if path in store.objects:
                return 200, store.objects[path]
            query = parse_qs(parts.query)
            if "list-type" in query:
                return 200, _listing(store.objects, path.strip("/"), query.get("prefix", [""])[0])
            why = "The specified key does not exist."
            return 404, f"<Error><Code>NoSuchKey</Code><Message>{why}</Message></Error>".encode()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Requests) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        scheme = "http" if tls is None else "https"
        store = ObjectStore(f"{scheme}://127.0.0.1:{server.server_port}")
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield store
        server.shutdown()
