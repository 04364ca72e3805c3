"""A batch goes in, its outcomes come out: rows for the handler, the one catch around user code, bodies.

Owns the translation between what travels (parts, replies) and what a handler sees and returns
(TorchServe's REST contract, "Request to handler input" and "Handler output to response"). Knows no sockets.
"""

from __future__ import annotations

import contextlib
import json
import math
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from types import GeneratorType
from typing import Any, Protocol

from torchkeeper.handler.context import Context, RequestProcessor
from torchkeeper.handler.errors import RowsApart, UnreadableRows, is_prediction_exception
from torchkeeper.handler.outcome import WrongOutcome, check_one_per_row, drained
from torchkeeper.handler.recorder import PREDICTION_METRIC, Recorder
from torchkeeper.handler.safe_text import safe_repr, safe_str
from torchkeeper.wire.frames import sendable
from torchkeeper.wire.messages import Failure, Input, Kind, Part, Reply, Sample, Signature, Together
from torchkeeper.worker.blame import Blame
from torchkeeper.worker.passes import in_passes
from torchkeeper.worker.replies import FAILED, OUT_OF_RESOURCES, Replier, failure_of, log, log_traceback

Entry = Callable[[Any, Context], Any]

#: Headers by which handlers know what is asked; clients have no say in them.
_OURS = frozenset({"explain", "describe"})
#: Characters that say what is wrong with a row: they may be the row's own.
_LONGEST_REASON = 1000
# Looked up for every request, and members of an enum are slow to find.
_EXPLAIN, _DESCRIBE = Kind.EXPLAIN, Kind.DESCRIBE


class Outbox(Protocol):
    """Where parts of answers go, and who left; indexes are those of the inputs."""

    def send(self, parts: Sequence[Reply | None]) -> None:
        """One part per request; None: nothing for that one."""

    def gone(self) -> Collection[int]:
        """The requests whose clients left."""


class Service:
    """One loaded model: its entry point, its context and the rules for input and output.

    `entries` is the entry point in each envelope that a request may ask for; None: in the model's own. An
    element of what an entry point returns may be a PredictionException: that request's own failure.
    """

    def __init__(
        self,
        entries: Mapping[str | None, Entry],
        context: Context,
        *,
        decode: bool,
        max_response_size: int,
        split: bool = True,
        patience: float = math.inf,
        blame: Blame | None = None,
    ) -> None:
        """
        Args:
            split: whether a batch that failed is run again in halves.
            patience: seconds that a batch may take; halves that would not be done by then are not run.
            blame: knows where in the model's own code a fault is.
        """
        self._entries = entries
        self._context = context
        self._decode = decode
        self._limit = max_response_size
        self._split = split
        self._patience = patience
        self._blame = blame
        self._begun = 0.0
        #: Why the last batch, or a part of it, was run again in halves; empty where none was.
        self.halved = ""
        #: How many requests a batch may have, where it was told to find that out.
        self.together: Together | None = None
        #: Sizes of the parts of a batch for which the memory did not suffice.
        self._too_large: list[int] = []
        self._uncompiled: Callable[[], int] = int
        self._uncompiled_told = 0

    @property
    def signature(self) -> Signature | None:
        """What the model takes and gives, if its handler said so."""
        found = self._context.signature
        return found if isinstance(found, Signature) else None

    @property
    def execution(self) -> dict[str, Any]:
        """What was applied of the model's `execution`, by its keys."""
        return self._context.execution

    def forgetting(self) -> contextlib.AbstractContextManager[None]:
        """A time in which what the handler records is forgotten."""
        metrics: Recorder = self._context.metrics
        return metrics.forgetting()

    def watch_uncompiled(self, total: Callable[[], int]) -> None:
        """Names what counts the calls of compiled models that ran uncompiled; those so far are nobody's."""
        self._uncompiled, self._uncompiled_told = total, total()

    def uncompiled(self) -> int:
        """Calls of compiled models that ran uncompiled since this was asked last."""
        before, self._uncompiled_told = self._uncompiled_told, self._uncompiled()
        return self._uncompiled_told - before

    def predict(self, inputs: Sequence[Input], outbox: Outbox) -> list[Reply | Failure]:
        """The handler's answers to a batch (one kind, one envelope), one per input and in their order.

        What a handler sends before it returns, or yields, goes through `outbox`.

        Raises:
            SystemExit: the handler ends its worker. Nothing else that it raises gets out of here.
        """

        self._begun = time.perf_counter()
        self._too_large.clear()
        self.halved = ""
        return self._settled(inputs, outbox)

    @property
    def too_large(self) -> int:
        """The least number of requests of the last batch that took more memory together than there was.

        0: there were none such. 1: a single one took too much, or a batch that was not run again in halves,
        and that says nothing of what fits together.
        """
        return min(self._too_large, default=0)

    def _settled(self, inputs: Sequence[Input], outbox: Outbox) -> list[Reply | Failure]:
        def ask(places: Sequence[int]) -> dict[int, Reply | Failure]:
            given = [inputs[place] for place in places]
            outcomes = self._ask(given, chosen(outbox, places, len(inputs)))
            return {places[number]: outcome for number, outcome in outcomes.items()}

        outcomes = self._ask(inputs, outbox)
        if len(outcomes) < len(inputs):
            outcomes = in_passes(len(inputs), outcomes, ask)
        return [outcomes[place] for place in range(len(inputs))]

    def _ask(self, inputs: Sequence[Input], outbox: Outbox) -> dict[int, Reply | Failure]:
        """The outcome of each input, or of those only that cannot be read; none: halves are to be run."""
        fault = fault_in(inputs[0].envelope)
        begin = time.perf_counter()
        try:
            return dict(enumerate(self._computed(inputs, outbox, fault)))
        except UnreadableRows as error:
            if rows := {place: wrong for place, wrong in error.rows.items() if place in range(len(inputs))}:
                return {
                    place: _unreadable(inputs[place], wrong, self._blame) for place, wrong in rows.items()
                }
            return self._failed(len(inputs), failure_of(error, fault, self._blame), begin)
        except RowsApart as error:
            if error.are_of(len(inputs)):
                return self._apart(error.groups, inputs, outbox)
            return self._failed(len(inputs), failure_of(error, fault, self._blame), begin)
        except SystemExit:
            raise
        except BaseException as error:  # noqa: BLE001 - the handler is user code
            return self._failed(len(inputs), failure_of(error, fault, self._blame), begin)
        finally:
            self._context.line = None

    def _failed(self, count: int, failure: Failure, begin: float) -> dict[int, Reply | Failure]:
        """What becomes of so many requests whose handler raised, called where the exception is handled."""
        now, line = time.perf_counter(), self._context.line
        in_time = (now - self._begun) + (now - begin) < self._patience
        split = self._split and count > 1 and in_time and not (isinstance(line, _Line) and line.sent)
        if failure.message == OUT_OF_RESOURCES:
            self._too_large.append(count if split else 1)
        if split:
            self.halved = failure.cause or failure.message
            log(f"a batch of {count} requests failed, and is run again in halves: {failure.cause}")
            return {}
        if isinstance(sys.exception(), WrongOutcome):
            log(f"request {', '.join((self._context.request_ids or {}).values())}: {failure.cause}")
        else:
            log_traceback()
        return dict.fromkeys(range(count), failure)

    def _apart(
        self, groups: Sequence[Sequence[int]], inputs: Sequence[Input], outbox: Outbox
    ) -> dict[int, Reply | Failure]:
        found: dict[int, Reply | Failure] = {}
        for group in groups:
            outcomes = self._settled([inputs[place] for place in group], chosen(outbox, group, len(inputs)))
            found |= zip(group, outcomes, strict=True)
        return found

    def _computed(self, inputs: Sequence[Input], outbox: Outbox, fault: int) -> list[Reply | Failure]:
        context = self._context
        processors = [RequestProcessor(self._headers(entry)) for entry in inputs]
        ids = {place: entry.request_id for place, entry in enumerate(inputs)}
        context.request_processor = processors
        context.request_ids = ids
        context.metrics.set_request_ids(ids)
        replier = Replier(processors, ids, fault, self._limit)
        line = _Line(replier, outbox, len(inputs))
        context.line = line
        rows = [self._row(entry.parts) for entry in inputs]
        begin = time.perf_counter()
        output = self._entries[inputs[0].envelope](rows, context)
        if isinstance(output, GeneratorType):
            output = drained(output, context)
            output = [b""] * len(inputs) if output is None else output
        check_one_per_row("returned", output, len(inputs))
        context.metrics.add_time(PREDICTION_METRIC, round((time.perf_counter() - begin) * 1000, 2))
        return [line.failed.get(place) or replier.reply(place, output[place]) for place in range(len(inputs))]

    def drain(self) -> Sequence[Sample]:
        """The numbers that the handler recorded since the last call."""
        try:
            recorded = self._context.metrics.drain()
            found = sendable(recorded)
        except Exception:  # noqa: BLE001 - a handler may have put anything in there
            log_traceback()
            return []
        if len(found) < len(recorded):
            log(f"{len(recorded) - len(found)} of {len(recorded)} recorded numbers cannot be sent, dropped")
        return found

    def _headers(self, entry: Input) -> dict[str, Any]:
        headers: dict[str, Any] = {}
        for part in entry.parts:
            headers[part.name] = {"content-type": part.content_type or ""}
        given = entry.headers
        if not _OURS.isdisjoint(map(str.lower, given)):
            given = {name: value for name, value in given.items() if name.lower() not in _OURS}
        headers.update(given)
        headers["explain"] = "True" if entry.kind is _EXPLAIN else "False"
        headers.setdefault("url_path", "")
        if entry.kind is _DESCRIBE:
            headers["describe"] = "True"
        return headers

    def _row(self, parts: Sequence[Part]) -> dict[str, Any]:
        return {part.name: self._value(part) for part in parts}

    def _value(self, part: Part) -> Any:
        if self._decode and part.content_type and not part.plain:
            kind = part.content_type.lower()
            try:
                if kind == "application/json":
                    return json.loads(part.value.decode())
                if kind.startswith("text"):
                    return part.value.decode()
            except (ValueError, RecursionError) as error:
                log(f"parameter {safe_repr(part.name)} is no valid {kind}, passed on as bytes: {error}")
        return bytearray(part.value)


class _Line:
    """A batch's way to its clients: values become parts with the status and headers set so far."""

    def __init__(self, replier: Replier, outbox: Outbox, size: int) -> None:
        self._replier = replier
        self._outbox = outbox
        self._size = size
        #: Whether a client has been sent something: the batch cannot be run again.
        self.sent = False
        #: Requests with a part that could not be sent: nothing more is sent for them but their failure.
        self.failed: dict[int, Failure] = {}

    def send(self, values: Sequence[Any], status: Any = None) -> None:
        """One value per request; None, or a client that left: nothing for that one."""
        gone = self._outbox.gone()
        parts: list[Reply | None] = [None] * self._size
        for place, value in zip(range(self._size), values, strict=True):
            if value is None or place in gone or place in self.failed:
                continue
            part = self._replier.reply(place, value, status)
            if isinstance(part, Failure):
                self.failed[place] = part
            else:
                parts[place] = part
        if any(part is not None for part in parts):
            self.sent = True
            self._outbox.send(parts)

    def gone(self) -> Collection[int]:
        """The requests whose clients left."""
        return self._outbox.gone()


def chosen(outbox: Outbox, places: Sequence[int], size: int) -> Outbox:
    """The outbox of some requests of a batch of `size`; `places` are theirs in it."""
    return outbox if len(places) == size else _Chosen(outbox, places, size)


class _Chosen:
    def __init__(self, outbox: Outbox, places: Sequence[int], size: int) -> None:
        self._outbox = outbox
        self._places = places
        self._size = size

    def send(self, parts: Sequence[Reply | None]) -> None:
        whole: list[Reply | None] = [None] * self._size
        for place, part in zip(self._places, parts, strict=True):
            whole[place] = part
        self._outbox.send(whole)

    def gone(self) -> Collection[int]:
        gone = self._outbox.gone()
        return {number for number, place in enumerate(self._places) if place in gone} if gone else gone


def fault_in(envelope: str | None) -> int:
    """Status of a handler's fault: TorchServe's on its URLs, KServe's on those that ask for an envelope."""
    return 503 if envelope is None else 500


def _unreadable(entry: Input, wrong: str | Exception, blame: Blame | None) -> Failure:
    if isinstance(wrong, Exception):
        if is_prediction_exception(wrong):  # a refusal on purpose: where it was raised says nothing more
            log(f"request {entry.request_id}: {safe_str(wrong, _LONGEST_REASON)}")
        else:
            log_traceback(wrong)
        return failure_of(wrong, fault_in(entry.envelope), blame)
    text = safe_str(wrong, _LONGEST_REASON)
    log(f"request {entry.request_id}: {text}")
    return Failure(fault_in(None), FAILED, text) if entry.envelope is None else Failure(400, text)
