"""How long beginnings and ends may take: what the server keeps to, and a pod's grace period allows for."""

from __future__ import annotations

#: Seconds that running requests get to finish after SIGTERM, and then workers to leave. A worker that leaves
#: for another reason (scaled away, unregistered) has as long, from when it has nothing more in hand.
DRAIN = 30.0
WORKER_STOP = 5.0
#: Seconds in which the kernel ends a killed process. One that hangs in a driver or on a dead disk takes
#: longer: it is not waited for.
KILLED = 10.0
#: Seconds that the template may take to import what workers share (slow disks exist), to fork, and to leave.
TEMPLATE_START = 120.0
FORK = 30.0
TEMPLATE_STOP = 2.0
#: Seconds that each other step of the end may take, and all that is not the drain or the workers' together.
STEP = 2.0
LAST = 14.0
