"""Envelopes of requests that hold several instances each: one call of the handler for those of a whole batch.

A request that cannot be read gets its own failure, and the others of its batch go on. Must not import torch.
Source: TorchServe's envelopes `json` and `kserve`, which fail on batches or with them; KServe's v1 protocol.
"""

from __future__ import annotations

import abc
import contextlib
from base64 import b64decode
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from types import GeneratorType
from typing import Any

from torchkeeper.envelope.envelope import BaseEnvelope, data_or_body
from torchkeeper.handler.context import Context
from torchkeeper.handler.errors import PredictionException, RowsApart, UnreadableRows
from torchkeeper.handler.json_text import dumped, json_text, read_json
from torchkeeper.handler.outcome import WrongOutcome, check_one_per_row, drained
from torchkeeper.handler.safe_text import safe_str
from torchkeeper.handler.streaming import Collector

#: Status of a request that cannot be read, of one that takes too much memory, and of a result that the
#: protocol has no form for.
UNREADABLE = 400
TOO_LARGE = 507
NO_FORM = 500


@dataclass(frozen=True)
class Opened:
    """A request that could be read."""

    #: Its rows for the handler.
    instances: list[Any]
    #: What else its answer needs to know.
    request: Any = None


class InstancesEnvelope(BaseEnvelope):
    """Base: a subclass opens one request and seals one answer."""

    def __init__(self, handle_fn: Callable[[Any, Any], Any]) -> None:
        super().__init__(handle_fn)
        self._opened: list[Opened | PredictionException] = []

    @abc.abstractmethod
    def open(self, place: int, row: Any) -> Opened:
        """Reads request number `place` of the batch.

        Raises:
            ValueError: it cannot be read; the message says why.
        """

    @abc.abstractmethod
    def seal(self, place: int, opened: Opened, results: list[Any]) -> Any:
        """The answer to request number `place`, from one result per instance.

        Raises:
            ValueError, TypeError: the protocol has no form for a result.
        """

    def handle(self, data: Any, context: Any) -> Any:
        """Answers a batch: per request its answer, or a PredictionException that is that request's alone."""
        self.context = context
        if not data or context.get_request_header(0, "describe") == "True":
            return self._handle_fn(data, context)
        instances = self.parse_input(data)
        return self.format_output(self._results(instances) if instances else [])

    def parse_input(self, data: Any) -> Any:
        """The instances of all requests that can be read, in one list."""
        self._opened = [self._open(place, row) for place, row in enumerate(data)]
        good = (opened for opened in self._opened if isinstance(opened, Opened))
        return [instance for opened in good for instance in opened.instances]

    def format_output(self, data: Any) -> Any:
        """One answer per request, from one result per instance."""
        results = iter(data)
        return [
            self._seal(place, opened, list(islice(results, len(opened.instances))))
            if isinstance(opened, Opened)
            else opened
            for place, opened in enumerate(self._opened)
        ]

    def _open(self, place: int, row: Any) -> Opened | PredictionException:
        try:
            return self.open(place, row)
        except ValueError as error:
            return PredictionException(str(error), UNREADABLE)
        except RecursionError:
            return PredictionException("the request has too many levels of nesting", UNREADABLE)
        except MemoryError:
            return PredictionException("the request takes more memory than there is", TOO_LARGE)

    def _seal(self, place: int, opened: Opened, results: list[Any]) -> Any:
        for result in results:
            if isinstance(result, PredictionException):  # an instance's failure is its request's
                return result
        try:
            return self.seal(place, opened, results)
        except Exception as error:  # noqa: BLE001 - results are of users' types
            text = f"the handler's result has no form in this protocol: {safe_str(error)}"
            return PredictionException(text, NO_FORM)

    def _results(self, instances: list[Any]) -> list[Any]:
        """The handler's results for the instances; parts that it sends are joined."""
        owners = [
            place
            for place, opened in enumerate(self._opened)
            if isinstance(opened, Opened)
            for _ in opened.instances
        ]
        return self._asked(instances, owners)

    def _asked(self, instances: list[Any], owners: Sequence[int]) -> list[Any]:
        try:
            return self._asked_together(instances, owners)
        except RowsApart as error:
            if not error.are_of(len(instances)):
                raise
            groups = error.groups
        results: list[Any] = [None] * len(instances)
        failures: list[tuple[set[int], Exception]] = []
        for group in groups:
            its_owners = [owners[row] for row in group]
            try:
                found = self._asked([instances[row] for row in group], its_owners)
            except (UnreadableRows, RowsApart, WrongOutcome, MemoryError):
                raise
            except Exception as error:  # noqa: BLE001 - the handler is user code
                failures.append((set(its_owners), error))
                continue
            for row, result in zip(group, found, strict=True):
                results[row] = result
        if failures:
            raise self._blame(failures)
        return results

    def _blame(self, failures: Sequence[tuple[set[int], Exception]]) -> Exception:
        """What to raise where groups failed, each given by the requests whose instances it had.

        A request that failed alone is guilty. Among several others may be: they are asked for apart, and
        where there is nobody besides them, they have failed together like any batch.
        """
        several = [(owners, error) for owners, error in failures if len(owners) > 1]
        if not several:
            return UnreadableRows({owner: error for owners, error in failures for owner in owners})
        suspects = set().union(*(owners for owners, _ in several))
        others = [place for place in range(len(self._opened)) if place not in suspects]
        return RowsApart([sorted(suspects), others]) if others else several[0][1]

    def _asked_together(self, instances: list[Any], owners: Sequence[int]) -> list[Any]:
        with _spread(self.context, owners) as collector:
            try:
                output = self._handle_fn(instances, self.context)
            except UnreadableRows as error:
                raise _of_requests(error, owners) from None
            if isinstance(output, GeneratorType):
                output = drained(output, self.context, "instances")
                if output is None:
                    return collector.joined(None)
        check_one_per_row("returned", output, len(instances), "instances")
        return collector.joined(output)


def _of_requests(error: UnreadableRows, owners: Sequence[int]) -> UnreadableRows:
    """The requests whose instances cannot be read, each with what is wrong with its first one."""
    found: dict[int, str | Exception] = {}
    for row, wrong in error.rows.items():
        if row not in range(len(owners)):
            raise IndexError(f"the handler cannot read instance {row}, of {len(owners)}: {safe_str(wrong)}")
        found.setdefault(owners[row], wrong)
    return UnreadableRows(found)


@contextlib.contextmanager
def _spread(context: Context, owners: Sequence[int]) -> Iterator[Collector]:
    """While a handler runs, its row number i is request number i of the context: headers, status, id."""
    processors, ids, line = context.request_processor, context.request_ids, context.line
    collector = Collector(owners, line)
    context.line = collector
    if processors is not None:
        context.request_processor = [processors[owner] for owner in owners]
    if ids is not None:
        context.request_ids = {row: ids[owner] for row, owner in enumerate(owners)}
        context.metrics.set_request_ids(context.request_ids)
    try:
        yield collector
    finally:
        context.request_processor, context.request_ids, context.line = processors, ids, line
        if ids is not None:
            context.metrics.set_request_ids(ids)


class JSONEnvelope(InstancesEnvelope):
    """Bodies {"instances": [...]}; answers are the JSON text {"predictions": [...]}."""

    def open(self, place: int, row: Any) -> Opened:
        """The request's instances, {"b64": text} decoded to bytes."""
        content = data_or_body(row) or row
        return Opened([_decoded(instance) for instance in _instances(content)])

    def seal(self, place: int, opened: Opened, results: list[Any]) -> Any:
        """A JSON text {"predictions": [...]}, byte for byte as TorchServe writes it."""
        return dumped({"predictions": results})


class KServeEnvelope(InstancesEnvelope):
    """KServe v1: {"instances": [...]} in, {"predictions": [...]} or {"explanations": [...]} out."""

    def open(self, place: int, row: Any) -> Opened:
        """The request's instances as they are; each is a row."""
        return Opened(_instances(data_or_body(row)))

    def seal(self, place: int, opened: Opened, results: list[Any]) -> Any:
        """One JSON text with a result per instance."""
        name = "explanations" if self._is_explain() else "predictions"
        self.context.set_response_content_type(place, "application/json")
        return json_text({name: results})

    def _is_explain(self) -> bool:
        return bool(self.context) and self.context.get_request_header(0, "explain") == "True"


def read_object(content: Any) -> dict[str, Any]:
    """A request's body as a JSON object, if it is not one already.

    Raises:
        ValueError: it is none; the message says what it is.
    """
    if isinstance(content, bytes | bytearray | memoryview | str):
        try:
            content = read_json(content)
        except ValueError as error:
            raise ValueError(f"the body is no JSON: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"the body must be a JSON object, not {kind_of(content)}")
    return content


def kind_of(value: Any) -> str:
    """What a JSON value is, in JSON's words."""
    names = {type(None): "null", bool: "a boolean", str: "a string", list: "an array", dict: "an object"}
    return names.get(type(value), "a number" if isinstance(value, int | float) else type(value).__name__)


def _instances(content: Any) -> list[Any]:
    instances = read_object(content).get("instances")
    if not isinstance(instances, list):
        found = "has none" if instances is None else f"has {kind_of(instances)} there"
        raise ValueError(f'the body must be {{"instances": [...]}} with a list of instances, and {found}')
    return instances


def _decoded(instance: Any) -> Any:
    if not isinstance(instance, dict):
        return instance
    if instance.keys() == {"b64"}:
        return _bytes(instance["b64"])
    return {
        name: _bytes(value["b64"]) if isinstance(value, dict) and value.keys() == {"b64"} else value
        for name, value in instance.items()
    }


def _bytes(text: Any) -> bytes:
    if not isinstance(text, str):
        raise ValueError(f"b64 must be text in base64, not {kind_of(text)}")
    return b64decode(text)
