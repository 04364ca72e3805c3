"""A batch goes in, its outcomes come out: what handlers see of requests, and clients of what they do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest
from stand_in_outbox import Outbox, request  # type: ignore[import-not-found]  # pytest puts this folder on the path

from torchkeeper.handler.context import Context
from torchkeeper.handler.errors import PredictionException, RowsApart, UnreadableRow, UnreadableRows
from torchkeeper.handler.recorder import Recorder
from torchkeeper.wire.messages import Failure, Input, Kind, Part, Reply
from torchkeeper.worker.service import Service, chosen, fault_in

Handler = Callable[[Any, Context], Any]


def service_of(
    handler: Handler,
    *,
    decode: bool = True,
    limit: int = 1000,
    split: bool = True,
    patience: float = 60,
    **envelopes: Handler,
) -> Service:
    recorder = Recorder("m")
    context = Context("m", "/", {}, 4, None, "0.12.0", metrics=recorder)
    return Service(
        {None: handler, **envelopes},
        context,
        decode=decode,
        max_response_size=limit,
        split=split,
        patience=patience,
    )


def outcomes(handler: Handler, *inputs: Input, outbox: Outbox | None = None, **more: Any) -> list[Any]:
    """What comes of a batch: bodies, and failures."""
    found = service_of(handler, **more).predict(inputs, outbox or Outbox())
    return [outcome.body if isinstance(outcome, Reply) else outcome for outcome in found]


# --- what a handler sees ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("decode", "kind", "value", "seen"),
    [
        (True, None, b"x", bytearray(b"x")),
        (True, "application/json", b'{"a": 1}', {"a": 1}),
        (True, "Application/JSON", b"[1]", [1]),
        (True, "text/plain", "tä".encode(), "tä"),
        (True, "text/html; charset=x", b"t", "t"),
        (True, "application/octet-stream", b"x", bytearray(b"x")),
        (True, "application/json", b"{", bytearray(b"{")),
        (True, "application/json", b"[" * 100_000, bytearray(b"[" * 100_000)),
        (True, "text/plain", b"\xff", bytearray(b"\xff")),
        (False, "application/json", b"{}", bytearray(b"{}")),
        (False, "text/plain", b"x", bytearray(b"x")),
    ],
)
def test_values_are_decoded_by_their_kind(decode: bool, kind: str | None, value: bytes, seen: Any) -> None:
    rows: list[Any] = []

    def handle(data: Any, context: Context) -> list[str]:
        rows.extend(data)
        return ["ok"] * len(data)

    inputs = request(Part("a", value, kind), Part("b", b"other"))
    assert outcomes(handle, inputs, decode=decode) == [b"ok"]
    assert rows == [{"a": seen, "b": bytearray(b"other")}]
    assert type(rows[0]["a"]) is type(seen)


@pytest.mark.parametrize("kind", ["application/json", "text/plain; charset=utf-8", None])
def test_a_plain_field_stays_bytes_and_its_type_is_in_the_headers(kind: str | None) -> None:
    seen: list[Any] = []

    def handle(data: Any, context: Context) -> list[str]:
        seen.extend((data[0]["a"], context.get_request_header(0, "a")))
        return ["ok"]

    assert outcomes(handle, request(Part("a", b"[1]", kind, plain=True))) == [b"ok"]
    assert seen == [bytearray(b"[1]"), {"content-type": kind or ""}]


@pytest.mark.parametrize(
    ("kind", "explain", "describe"),
    [(Kind.PREDICT, "False", None), (Kind.EXPLAIN, "True", None), (Kind.DESCRIBE, "False", "True")],
)
def test_what_is_asked_is_among_the_headers_and_no_client_says_so(
    kind: Kind, explain: str, describe: str | None
) -> None:
    seen: list[Any] = []

    def handle(data: Any, context: Context) -> list[str]:
        names = ("explain", "describe", "x-own", "data", "url_path")
        seen.extend(context.get_request_header(0, name) for name in names)
        return ["ok"]

    headers = {"Explain": "maybe", "DESCRIBE": "maybe", "X-Own": "value"}
    fields = [Part(name, b"1", plain=True) for name in ("explain", "X-Own")]
    outcomes(handle, request(Part("data", b"1", "text/plain"), *fields, kind=kind, **headers))
    assert seen == [explain, describe, "value", {"content-type": "text/plain"}, ""]


def test_each_batch_has_its_own_requests_and_leaves_nothing() -> None:
    seen: list[Any] = []

    def handle(data: Any, context: Context) -> list[str]:
        seen.append((context.request_ids, dict(context.get_response_headers(0))))
        context.set_response_header(0, "x", "y")
        return ["ok"] * len(data)

    service = service_of(handle)
    for numbers in ((1, 2), (3,)):
        service.predict([request(b"x", number=number) for number in numbers], Outbox())
    assert [ids for ids, _ in seen] == [{0: "id-1", 1: "id-2"}, {0: "id-3"}]
    assert seen[1][1] == {}, "headers of the batch before"


def test_a_request_is_answered_in_the_envelope_that_it_asks_for() -> None:
    service = service_of(lambda data, context: ["plain"], other=lambda data, context: ["other"])
    for envelope, body in ((None, b"plain"), ("other", b"other")):
        (outcome,) = service.predict([request(b"x", envelope=envelope)], Outbox())
        assert isinstance(outcome, Reply)
        assert outcome.body == body


# --- what becomes of what it does ------------------------------------------------------------------------


def raises(error: BaseException) -> Handler:
    def handle(data: Any, context: Context) -> Any:
        raise error

    return handle


@pytest.mark.parametrize(
    ("handler", "message", "cause"),
    [
        (raises(ValueError("words")), "Prediction failed", "ValueError: words"),
        (raises(KeyboardInterrupt()), "Prediction failed", "KeyboardInterrupt"),
        (
            lambda data, context: "text",
            "Invalid model predict output",
            "the handler returned str, not a list",
        ),
        (
            lambda data, context: ["one"] * 3,
            "number of batch response mismatched",
            "the handler returned 3 results for 1 requests",
        ),
    ],
)
@pytest.mark.parametrize(("envelope", "status"), [(None, 503), ("other", 500)])
def test_a_fault_of_all_is_the_whole_batchs(
    handler: Handler, message: str, cause: str, envelope: str | None, status: int
) -> None:
    inputs = [request(b"x", number=number, envelope=envelope) for number in range(2)]
    assert outcomes(handler, *inputs, other=handler) == [Failure(status, message, cause)] * 2
    assert fault_in(envelope) == status


class Picky:
    """A handler that raises where its batch holds a body that names an exception; it keeps what it got."""

    ERRORS: ClassVar[dict[bytes, Exception]] = {
        b"value": ValueError("words"),
        b"mine": PredictionException("not mine", 513),
        b"memory": MemoryError("too much"),
    }

    def __init__(self, largest: int = 100) -> None:
        self.batches: list[list[bytes]] = []
        self.largest = largest

    def __call__(self, data: Any, context: Context) -> Any:
        bodies = [bytes(row["body"]) for row in data]
        self.batches.append(bodies)
        for body in bodies:
            if body in self.ERRORS:
                raise self.ERRORS[body]
        if len(bodies) > self.largest:
            raise MemoryError("too many")
        if b"length" in bodies:
            return ["one too many"] * (len(bodies) + 1)
        return [context.get_request_id(place) for place in range(len(data))]


def bodies_of(*bodies: bytes) -> list[Input]:
    return [request(body, number=number) for number, body in enumerate(bodies)]


def test_who_fails_a_batch_fails_alone(capsys: pytest.CaptureFixture[str]) -> None:
    handler = Picky()
    inputs = bodies_of(b"a", b"value", b"b", b"mine", b"c", b"length", b"d", b"memory")
    found = outcomes(handler, *inputs)
    assert found[::2] == [b"id-0", b"id-2", b"id-4", b"id-6"]
    assert [(one.status, one.message, one.cause) for one in found[1::2]] == [
        (503, "Prediction failed", "ValueError: words"),
        (513, "not mine", "PredictionException: not mine : 513"),
        (503, "number of batch response mismatched", "the handler returned 2 results for 1 requests"),
        (507, "Out of resources", "MemoryError: too much"),
    ]
    assert len(handler.batches) == 15
    said = capsys.readouterr().err
    assert "a batch of 8 requests failed, and is run again in halves: ValueError: words" in said
    assert said.count("Traceback") == 3, "of each that raised, once"


def test_one_bad_request_costs_its_batch_few_calls() -> None:
    handler = Picky()
    found = outcomes(handler, *bodies_of(*[b"fine"] * 20, b"value", *[b"fine"] * 11))
    assert [place for place, one in enumerate(found) if isinstance(one, Failure)] == [20]
    assert [len(batch) for batch in handler.batches] == [32, 16, 16, 8, 8, 4, 4, 2, 2, 1, 1]


@pytest.mark.parametrize("how", [{"split": False}, {"patience": 0}], ids=["not wanted", "it would be late"])
def test_a_batch_may_fail_whole(how: dict[str, Any]) -> None:
    handler = Picky()
    found = outcomes(handler, *bodies_of(b"a", b"value"), **how)
    assert found == [Failure(503, "Prediction failed", "ValueError: words")] * 2
    assert len(handler.batches) == 1


def test_a_batch_of_which_a_client_has_seen_a_part_is_not_run_again() -> None:
    calls = []

    def handle(data: Any, context: Context) -> Iterator[list[Any]]:
        calls.append(len(data))
        yield ["part", None]
        raise ValueError("words")

    outbox = Outbox()
    found = outcomes(handle, *bodies_of(b"a", b"b"), outbox=outbox)
    assert found == [Failure(503, "Prediction failed", "ValueError: words")] * 2
    assert calls == [2]


@pytest.mark.parametrize(
    ("bodies", "largest", "too_large"),
    [
        ([b"a"] * 8, 100, 0),
        ([b"a"] * 8, 7, 8),
        ([b"a"] * 8, 3, 4),
        ([b"a"] * 8, 1, 2),
        ([b"a"] * 7 + [b"memory"], 100, 1),
        ([b"a"] * 8, 0, 1),
        ([b"a"], 0, 1),
    ],
    ids=[
        "enough",
        "too many",
        "half too many",
        "one by one",
        "one alone is too much",
        "never enough",
        "alone",
    ],
)
def test_a_batch_that_took_too_much_memory_is_told_of_where_its_parts_did_not(
    bodies: list[bytes], largest: int, too_large: int
) -> None:
    handler = Picky(largest)
    service = service_of(handler)
    service.predict(bodies_of(*bodies), Outbox())
    assert service.too_large == too_large
    handler.largest = 100
    service.predict(bodies_of(b"a"), Outbox())
    assert service.too_large == 0, "it is the last batch's"


def test_elements_fail_alone() -> None:
    def handle(data: Any, context: Context) -> list[Any]:
        return ["fine", PredictionException("mine", 418), {1}, "x" * 2000]

    inputs = [request(b"x", number=number) for number in range(4)]
    fine, mine, unsupported, large = outcomes(handle, *inputs)
    assert fine == b"fine"
    assert mine == Failure(418, "mine")
    assert unsupported.message == "Unsupported model output data type."
    assert large.message == "Worker died."


@pytest.mark.parametrize(
    ("envelope", "failure"),
    [(None, Failure(503, "Prediction failed", "no number")), ("other", Failure(400, "no number"))],
)
def test_rows_that_cannot_be_read_fail_alone_and_the_others_are_asked_again(
    envelope: str | None, failure: Failure
) -> None:
    asked: list[int] = []

    def handle(data: Any, context: Context) -> list[Any]:
        asked.append(len(data))
        bad = {place: "no number" for place, row in enumerate(data) if not row["body"].isdigit()}
        if bad:
            raise UnreadableRows(bad)
        return [context.get_request_id(place) for place in range(len(data))]

    bodies = (b"1", b"x", b"2", b"y")
    inputs = [request(body, number=number, envelope=envelope) for number, body in enumerate(bodies)]
    assert outcomes(handle, *inputs, other=handle) == [b"id-0", failure, b"id-2", failure]
    assert asked == [4, 2]


def test_what_is_wrong_with_a_row_is_said_within_a_bound(capsys: pytest.CaptureFixture[str]) -> None:
    (failure,) = outcomes(raises(UnreadableRow(0, "x" * 100_000)), request(b"x"))
    assert failure.cause == "x" * 1000 + "..."
    assert len(capsys.readouterr().err) < 1100


@pytest.mark.parametrize(("envelope", "fault"), [(None, 503), ("other", 500)])
def test_an_exception_that_is_one_rows_is_answered_as_one_of_a_batch(
    envelope: str | None, fault: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def handle(data: Any, context: Context) -> list[Any]:
        wrong: dict[int, str | Exception] = {
            place: {b"p": PredictionException("too small", 422), b"k": KeyError("cat")}[bytes(row["body"])]
            for place, row in enumerate(data)
            if not row["body"].isdigit()
        }
        if wrong:
            raise UnreadableRows(wrong)
        return ["fine"] * len(data)

    bodies = (b"1", b"p", b"k")
    inputs = [request(body, number=number, envelope=envelope) for number, body in enumerate(bodies)]
    good, small, broken = outcomes(handle, *inputs, other=handle)
    assert good == b"fine"
    assert (small.status, small.message) == (422, "too small")
    assert (broken.status, broken.message) == (fault, "Prediction failed")
    assert capsys.readouterr().err == "request id-1: too small : 422\nKeyError: 'cat'\n"


def test_rows_apart_are_asked_for_group_by_group() -> None:
    asked: list[list[bytes]] = []

    def handle(data: Any, context: Context) -> list[Any]:
        bodies = [bytes(row["body"]) for row in data]
        asked.append(bodies)
        lengths = sorted({len(body) for body in bodies})
        if len(lengths) > 1:
            groups = [[n for n, body in enumerate(bodies) if len(body) == length] for length in lengths]
            raise RowsApart(groups)
        if bad := {n: "no number" for n, body in enumerate(bodies) if not body.isdigit()}:
            raise UnreadableRows(bad)
        return [context.get_request_id(place) for place in range(len(data))]

    inputs = [request(body, number=number) for number, body in enumerate((b"11", b"1", b"xx", b"2", b"22"))]
    failure = Failure(503, "Prediction failed", "no number")
    assert outcomes(handle, *inputs) == [b"id-0", b"id-1", failure, b"id-3", b"id-4"]
    assert [len(bodies) for bodies in asked] == [5, 2, 3, 2]


@pytest.mark.parametrize("groups", [[[0, 1]], [[0]], [[0], [0]], [[0], [7]]])
def test_groups_that_are_none_are_a_fault(groups: list[list[int]]) -> None:
    for failure in outcomes(raises(RowsApart(groups)), request(b"x"), request(b"y", number=1)):
        assert failure.message == "Prediction failed"


def test_a_row_that_is_not_there_is_a_fault() -> None:
    (failure,) = outcomes(raises(UnreadableRow(5, "no number")), request(b"x"))
    assert failure.message == "Prediction failed"
    assert "no number" in failure.cause


def test_only_a_handler_that_leaves_ends_its_worker() -> None:
    with pytest.raises(SystemExit):
        outcomes(raises(SystemExit(3)), request(b"x"))


# --- parts -----------------------------------------------------------------------------------------------


def test_what_is_yielded_goes_at_once_and_what_is_returned_is_the_end() -> None:
    outbox = Outbox()

    def parts(data: Any) -> Iterator[list[Any]]:
        yield ["a", None]
        assert outbox.bodies == [[b"a", None]], "it is on its way already"
        yield [None, None]
        yield ["b", "c"]
        return ["d", "e"]

    inputs = [request(b"x", number=number) for number in range(2)]
    assert outcomes(lambda data, context: parts(data), *inputs, outbox=outbox) == [b"d", b"e"]
    assert outbox.bodies == [[b"a", None], [b"b", b"c"]]


def test_whose_client_left_gets_no_part_and_nobodys_work_is_ended() -> None:
    outbox = Outbox()
    ended: list[bool] = []

    def parts() -> Iterator[list[Any]]:
        try:
            yield ["a", "a"]
            outbox.left = {0}
            yield ["b", "b"]
            outbox.left = {0, 1}
            yield ["c", "c"]
            raise AssertionError("nobody listens any more")
        finally:
            ended.append(True)

    inputs = [request(b"x", number=number) for number in range(2)]
    assert outcomes(lambda data, context: parts(), *inputs, outbox=outbox) == [b"", b""]
    assert outbox.bodies == [[b"a", b"a"], [None, b"b"]]
    assert ended == [True]


def test_a_part_that_cannot_be_sent_fails_its_request_alone_and_nothing_follows() -> None:
    outbox = Outbox()

    def parts() -> Iterator[list[Any]]:
        yield ["a", {1}]
        yield ["b", "late"]
        return ["c", "late"]

    inputs = [request(b"x", number=number) for number in range(2)]
    first, second = outcomes(lambda data, context: parts(), *inputs, outbox=outbox)
    assert first == b"c"
    assert second.message == "Unsupported model output data type."
    assert outbox.bodies == [[b"a", None], [b"b", None]]


def test_after_a_batch_its_line_is_closed() -> None:
    kept: list[Context] = []

    def handle(data: Any, context: Context) -> list[str]:
        assert context.line is not None
        kept.append(context)
        raise ValueError

    outcomes(handle, request(b"x"))
    assert kept[0].line is None


def test_some_requests_of_a_batch_have_an_outbox_of_their_own() -> None:
    whole = Outbox(left={0, 3})
    assert chosen(whole, [0, 1, 2, 3], 4) is whole
    some = chosen(whole, [1, 3], 4)
    some.send([Reply(b"a"), Reply(b"b")])
    assert whole.bodies == [[None, b"a", None, b"b"]]
    assert some.gone() == {1}
    whole.left = set()
    assert some.gone() == set()


# --- numbers ---------------------------------------------------------------------------------------------


def test_numbers_come_once_and_those_that_cannot_be_sent_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    def handle(data: Any, context: Context) -> list[str]:
        context.metrics.add_counter("Mine", 2, 0)
        context.metrics.add_counter("\ud800", 2, 0)
        return ["ok"]

    service = service_of(handle)
    service.predict([request(b"x")], Outbox())
    assert sorted((sample.name, sample.request_id) for sample in service.drain()) == [
        ("Mine", "id-0"),
        ("PredictionTime", "id-0"),
    ]
    assert "1 of 3 recorded numbers cannot be sent, dropped" in capsys.readouterr().err
    assert service.drain() == []


def test_metrics_that_a_handler_has_spoilt_are_none() -> None:
    def handle(data: Any, context: Context) -> list[str]:
        context.metrics = None
        return ["ok"]

    service = service_of(handle)
    service.predict([request(b"x")], Outbox())
    assert service.drain() == []
