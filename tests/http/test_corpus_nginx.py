"""The corpus of raw requests beside nginx, where it is installed: it agrees, or a table says why not."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from corpus import FOLDER, READ, Case, cases
from servers import eventually

CASES = list(cases())
#: Requests by their text, each below the reason why nginx thinks otherwise.
TABLE = FOLDER.parent / "nginx.txt"
CONFIG = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log crit;
events {{ worker_connections 64; }}
http {{
  access_log off; client_max_body_size 6553500; client_header_buffer_size 16k;
  large_client_header_buffers 4 16k; client_header_timeout 2s; client_body_timeout 2s;
  client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
  uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
  server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://unix:{folder}/inner; }} }}
  server {{ listen unix:{folder}/inner; location / {{ return 200 "read"; }} }}
}}
"""
NEXT = b"GET /next HTTP/1.1\r\nHost: next\r\nConnection: close\r\n\r\n"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed"),
]


def otherwise() -> set[str]:
    lines = TABLE.read_text().splitlines()
    return {line for line in lines if line and not line.startswith("# ")}


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder: Path = tmp_path_factory.mktemp("nginx")
    with socket.create_server(("127.0.0.1", 0)) as free:
        number = int(free.getsockname()[1])
    (folder / "nginx.conf").write_text(CONFIG.format(folder=folder, port=number))
    process = subprocess.Popen(
        ["nginx", "-p", folder, "-c", folder / "nginx.conf"], stderr=subprocess.DEVNULL
    )

    def listens() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", number)) == 0

    eventually(listens)
    yield number
    process.terminate()
    process.wait(60)


def accepted(port: int, case: Case) -> bool:
    """Whether nginx answers all of it as requests."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        try:
            client.sendall(case.sends if case.ends else case.sends + NEXT)
            if case.ends:
                client.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        said = b""
        try:
            while data := client.recv(1 << 16):
                said += data
        except ConnectionResetError:
            pass
    statuses = [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) (?!Continue)", said)]
    return bool(statuses) and all(status in READ for status in statuses)


@pytest.mark.parametrize("case", CASES, ids=[case.place for case in CASES])
def test_nginx_agrees_or_the_table_says_why_not(port: int, case: Case) -> None:
    assert (accepted(port, case) == case.accepted) is not (case.text in otherwise())


def test_the_table_has_nothing_that_the_corpus_has_not() -> None:
    assert otherwise() <= {case.text for case in CASES}
