"""Configurations that nobody can serve with: whether those who started the server hear of it."""

from __future__ import annotations

import contextlib
import socket

from servebench.inputs import build_archive
from servebench.scorecard import Figures
from servebench.servers import Kind, exit_code
from servebench.trials.house import ALONE, STORE

#: Seconds after which a server counts as one that has started.
STARTED = 15.0


def fatal(port: int) -> dict[str, dict[str, str]]:
    """Settings with which no server can start; `port` is taken."""
    taken = f"http://127.0.0.1:{port}"
    return {
        "a port that is taken": {"inference_address": taken},
        "a gRPC port that is taken": {"grpc_inference_port": str(port)},
        "a word for a number": {"job_queue_size": "banana"},
        "a unit": {"max_request_size": "10GB"},
        "no address": {"management_address": "nowhere"},
        "no port": {"inference_address": "http://127.0.0.1:99999"},
        "no JSON": {"models": "{bad"},
        "no address of this host": {"inference_address": "http://192.0.2.1:8080"},
    }


def exit_codes(kind: Kind) -> Figures:
    """Eight fatal configurations: how many end with an exit code that says so."""
    build_archive(ALONE, kind.archiver, STORE)
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as holder:
        cases = fatal(holder.getsockname()[1])
        codes = [exit_code(kind, STORE, settings, STARTED) for settings in cases.values()]
    return {f"said of {len(cases)}": sum(code not in (0, None) for code in codes)}
