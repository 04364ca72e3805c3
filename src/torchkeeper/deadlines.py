"""How long a server's end may take: what the server keeps to, and what a pod's grace period allows for."""

from __future__ import annotations

#: Seconds that running requests get to finish after SIGTERM, and then workers to leave.
DRAIN = 30.0
WORKER_STOP = 5.0
#: Seconds that the template may take to leave.
TEMPLATE_STOP = 2.0
#: Seconds that each other step of the end may take, and all that is not the drain or the workers' together.
STEP = 2.0
LAST = 14.0
