"""What is measured: which server serves which archive in which set-up, in which order. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from servebench.inputs import COMPILED, Variant

CONNECTIONS = (1, 16, 64)
BATCH = 16
#: TorchServe's maxBatchDelay is tried at both (ms); 0 would make it wait 100 ms.
DELAYS = (1, 5)
WORKLOADS = ("mnist", COMPILED, "echo", "accel")
#: Set where it is not BATCH: AOTInductor bounds the batch of the compiled model to 15.
BATCHES = {COMPILED: 15}
#: An accelerator stand-in has one worker, the others as many as the server starts by itself.
WORKERS = {"accel": 1}

_NOT_SERVED = ("TorchServe", COMPILED)

DEFAULTS, BATCH_1, BATCH_16 = "defaults", "batch 1", f"batch {BATCH}"


@dataclass(frozen=True)
class Case:
    """One server run: a server, an archive, and whether TorchServe's environment and logs are tuned.

    `setups` are the columns that its figures count for.
    """

    server: str
    variant: Variant
    tuned: bool
    setups: tuple[str, ...]

    @property
    def label(self) -> str:
        """A few words for the progress line."""
        delay = "" if self.variant.delay is None else f", delay {self.variant.delay} ms"
        return f"{self.variant.workload} · {self.server} · {' and '.join(self.setups)}{delay}"


def cases(workloads: tuple[str, ...], servers: tuple[str, ...]) -> list[Case]:
    """All server runs of one round, the two servers next to each other for each workload and batch size."""
    rows: list[Case] = []
    for workload in workloads:
        workers = WORKERS.get(workload)
        plain = Variant(workload, workers=workers)
        by_delay = [Variant(workload, BATCHES.get(workload, BATCH), delay, workers) for delay in DELAYS]
        rows += [
            Case("TorchServe", plain, False, (DEFAULTS,)),
            # Nothing is tuned in ours, so its defaults are its figures at batch size 1.
            Case("torchkeeper", plain, False, (DEFAULTS, BATCH_1)),
            Case("TorchServe", plain, True, (BATCH_1,)),
            Case("TorchServe", by_delay[0], True, (BATCH_16,)),
            Case("torchkeeper", by_delay[-1], False, (BATCH_16,)),
            Case("TorchServe", by_delay[1], True, (BATCH_16,)),
        ]
    # TorchServe 0.12 knows AOTInductor's older form alone.
    return [
        row for row in rows if row.server in servers and (row.server, row.variant.workload) != _NOT_SERVED
    ]


def in_round(rows: list[Case], number: int) -> list[Case]:
    """The order of one round: every second one runs backwards, so that no server always goes first."""
    return rows if number % 2 == 0 else rows[::-1]
