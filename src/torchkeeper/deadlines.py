"""How long a server's end may take: what the server keeps to, and what a pod's grace period allows for."""

from __future__ import annotations

#: Seconds that running requests get to finish after SIGTERM, and then workers to leave.
DRAIN = 30.0
WORKER_STOP = 5.0
