"""Pictures, archives and URLs that mean harm: what they cost, and how far they come."""

from __future__ import annotations

import contextlib
import http.server
import re
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from servebench.asking import ask
from servebench.generators import archive, bad_archives, png
from servebench.inputs import Variant
from servebench.scorecard import Figures
from servebench.servers import Kind, Running
from servebench.trials.house import STORE, files, manage, new_files, ready_workers, server

PICTURES = Variant("picture", batch=1, delay=1, workers=1)
#: Seconds after which a picture counts as not answered, and that an archive may take.
NO_PICTURE, NO_ARCHIVE = 20.0, 30.0
#: Seconds for all bad archives; a server that takes longer is asked for no more of them.
ALL_ARCHIVES = 40.0


def picture(kind: Kind) -> Figures:
    """A picture of 10 KB with 81 million pixels: seconds until its answer, and how much the worker grew."""
    with server(kind, PICTURES) as running:
        ask(running.port, png(8, 8))
        (worker,) = ready_workers(running)
        before = peak(worker)
        answers = [ask(running.port, png(9000, 9000), NO_PICTURE)]
        while answers[0].seconds < 1 and len(answers) < 5:  # one that is slow is not asked for more
            answers.append(ask(running.port, png(9000, 9000), NO_PICTURE))
        return {
            "refused": float(all(400 <= answer.status < 500 for answer in answers)),
            "s until the answer": statistics.median(answer.seconds for answer in answers),
            "MB more": (peak(worker) - before) / 1e6,
        }


def peak(pid: int) -> float:
    """The most bytes that a process has held in memory; 0 if it is gone."""
    with contextlib.suppress(OSError):
        if found := re.search(r"VmHWM:\s*(\d+) kB", Path(f"/proc/{pid}/status").read_text()):
            return int(found[1]) * 1024.0
    return 0.0


@contextlib.contextmanager
def own_store() -> Iterator[Path]:
    """A model store that nobody else has, beside which there is one more archive."""
    with tempfile.TemporaryDirectory(prefix="servebench-") as name:
        store = Path(name) / "store"
        shutil.copytree(STORE, store, ignore=shutil.ignore_patterns("mnist*"))
        (Path(name) / "secret.mar").write_bytes(archive())
        yield store


def bomb(kind: Kind) -> Figures:
    """An archive of 622 KB that unpacks to 600 MB: whether and how fast it is refused, and what is left."""
    with own_store() as store, server(kind, store=store) as running:
        (store / "bomb.mar").write_bytes(bad_archives()["zip bomb"][0])
        before = files(store, running.folder)
        begin = time.monotonic()
        answer = manage(running, "POST", "/models", NO_ARCHIVE, url="bomb.mar", initial_workers=0)
        seconds = time.monotonic() - begin
        after = files(store, running.folder)
        left = sum(after[path] for path in new_files(before, after) if path.is_file())
        refused = float(400 <= answer.status < 500)
    return {"refused": refused, "s": seconds, "MB left": left / 1e6}


def bad_archives_one_by_one(kind: Kind) -> Figures:
    """All bad archives of the tests: how many are refused with 4xx and a reason, and what is left of them."""
    with own_store() as store, server(kind, store=store) as running:
        before = files(store, running.folder)
        refused, tried, begin = 0, 0, time.monotonic()
        for number, (data, _) in enumerate(bad_archives().values()):
            if time.monotonic() - begin > ALL_ARCHIVES:
                break
            tried += 1
            (store / "bad.mar").write_bytes(data)
            name = f"bad-{number}"
            answer = manage(
                running, "POST", "/models", NO_ARCHIVE, url="bad.mar", initial_workers=0, model_name=name
            )
            (store / "bad.mar").unlink()
            refused += 400 <= answer.status < 500
            if answer.status == 200:
                manage(running, "DELETE", f"/models/{name}")
        left = new_files(before, files(store, running.folder))
    return {"tried": tried, "% refused with 4xx": 100 * refused / tried, "files left": len(left)}


class Origin:
    """A host of archives on a port of its own, which counts who comes, and may send them elsewhere."""

    def __init__(self) -> None:
        self.hits = 0
        #: Path -> status and Location.
        self.elsewhere: dict[str, tuple[int, str]] = {}
        origin = self

        class Host(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                origin.hits += 1
                if (found := origin.elsewhere.get(self.path)) is not None:
                    self.send_response(found[0])
                    self.send_header("Location", found[1])
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                data = archive()
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Host)
        self.port = self._server.server_port

    def __enter__(self) -> Origin:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def spellings(allowed: Origin, canary: Origin, secret: Path) -> Mapping[str, str]:
    """URLs of what is not to be had, by what is odd of them; `allowed` is where archives may come from."""
    good, bad, path = f"127.0.0.1:{allowed.port}", f"127.0.0.1:{canary.port}", str(secret)
    to = {f"redirect {status}": (status, f"http://{bad}/a.mar") for status in (301, 302, 303, 307, 308)}
    to |= {
        "redirect without a scheme": (302, f"//{bad}/a.mar"),
        "redirect in capitals": (302, f"HTTP://{bad}/a.mar"),
        "redirect by name": (302, f"http://localhost:{canary.port}/a.mar"),
        "redirect with a user": (302, f"http://{good}@{bad}/a.mar"),
        "redirect to a file": (302, f"file://{path}"),
        "two redirects": (302, f"http://{good}/0.mar"),
    }
    allowed.elsewhere = {f"/{number}.mar": found for number, found in enumerate(to.values())}
    urls = {what: f"http://{good}/{number}.mar" for number, what in enumerate(to)}
    number = canary.port
    return urls | {
        "another port": f"http://{bad}/a.mar",
        "capitals": f"HTTP://{bad}/a.mar",
        "https": f"https://{bad}/a.mar",
        "a user": f"http://{good}@{bad}/a.mar",
        "a user and a key": f"http://{good}:x@{bad}/a.mar",
        "a fragment": f"http://{bad}/a.mar#http://{good}/a.mar",
        "a query": f"http://{bad}/a.mar?http://{good}/a.mar",
        "a blank in front": f" http://{bad}/a.mar",
        "a line in front": f"http://{good}/\nhttp://{bad}/a.mar",
        "a tab": f"ht\ttp://{bad}/a.mar",
        "back slashes": f"http:\\\\{bad}\\a.mar",
        "a slash too few": f"http:/{bad}/a.mar",
        "a name": f"http://localhost:{number}/a.mar",
        "one number": f"http://2130706433:{number}/a.mar",
        "octal": f"http://0177.0.0.1:{number}/a.mar",
        "hexadecimal": f"http://0x7f.0.0.1:{number}/a.mar",
        "short": f"http://127.1:{number}/a.mar",
        "mapped": f"http://[::ffff:127.0.0.1]:{number}/a.mar",
        "a file": f"file://{path}",
        "a file without slashes": f"file:{path}",
        "a file in capitals": f"FILE://{path}",
        "a file of this host": f"file://localhost{path}",
        "a file that is no archive": "file:///etc/passwd",
        "a path": path,
        "a path beside the store": f"../{secret.name}",
        "up and down": f"x/../../{secret.name}",
        "up, escaped": f"..%2f{secret.name}",
        "up, escaped twice": f"%252e%252e%252f{secret.name}",
        "up by back slashes": f"..\\{secret.name}",
        "up after the scheme": f"file://{secret.parent}/store/../{secret.name}",
        "the folder": str(secret.parent),
    }


def escapes(kind: Kind) -> Figures:
    """URLs of archives that are not to be had: how many led there all the same, or left a copy."""
    with own_store() as store, Origin() as allowed, Origin() as canary:
        secret = store.parent / "secret.mar"
        urls = spellings(allowed, canary, secret)
        pattern = rf"http://127\\.0\\.0\\.1:{allowed.port}/.*"
        with server(kind, store=store, allowed_urls=pattern) as running:
            found = [
                _escapes(running, number, url, canary, store) for number, url in enumerate(urls.values())
            ]
    return {"tried": len(urls), "escapes": sum(found)}


def _escapes(running: Running, number: int, url: str, canary: Origin, store: Path) -> bool:
    before, hits, name = files(store), canary.hits, f"far-{number}"
    answer = manage(running, "POST", "/models", 20.0, url=url, initial_workers=0, model_name=name)
    if answer.status == 200:
        manage(running, "DELETE", f"/models/{name}")
    copies = new_files(before, files(store))
    for path in copies:
        path.unlink(missing_ok=True)
    return answer.status == 200 or canary.hits > hits or bool(copies)
