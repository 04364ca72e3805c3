"""Token authorization: which key opens what, how long, and what is said to the rest."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchkeeper.errors import BadRequest, InvalidKey, TorchkeeperError
from torchkeeper.keys.key import Key
from torchkeeper.keys.throttle import FREE, STEP
from torchkeeper.keys.tokens import TokenRules, Tokens, bearer, new_key

AT = 1_764_000_000.0
HOUR = 3600.0
FAILED = "Token Authorization failed. Token either incorrect, expired, or not provided correctly"
NOT_RENEWED = "Token Authentication failed. Token either incorrect, expired, or not provided correctly"
#: The keys as `made` makes them, in TorchServe's order.
MADE = {Key.MANAGEMENT: "key-1", Key.INFERENCE: "key-2", Key.API: "key-3"}


class Saved:
    """Where keys are written in these tests: the texts, newest last."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def __call__(self, text: str) -> None:
        self.texts.append(text)


def made(
    save: Callable[[str], None] | None = None,
    given: dict[Key, str] | None = None,
    **rules: bool,
) -> Tokens:
    numbers = itertools.count(1)
    return Tokens(
        TokenRules(HOUR, **rules),
        given or {},
        clock=lambda: AT,
        fresh=lambda: f"key-{next(numbers)}",
        save=save or Saved(),
    )


def refused(tokens: Tokens, need: Key, header: str | None, client: str = "a", now: float = AT) -> InvalidKey:
    with pytest.raises(InvalidKey) as raised:
        tokens.check(need, header, client, now)
    return raised.value


@pytest.mark.parametrize("need", [Key.MANAGEMENT, Key.INFERENCE, Key.API])
@pytest.mark.parametrize("have", [Key.MANAGEMENT, Key.INFERENCE, Key.API])
def test_each_key_opens_its_own_routes_only(need: Key, have: Key) -> None:
    tokens, header = made(), f"Bearer {MADE[have]}"
    if need is have:
        assert tokens.check(need, header, "a", AT) == 0.0
    else:
        refused(tokens, need, header)


def test_routes_without_a_key_are_open_and_probes_are_unless_protected() -> None:
    assert made().check(Key.NONE, None, "a", AT) == 0.0
    assert made().check(Key.PROBE, None, "a", AT) == 0.0
    protected = made(protect_probes=True)
    refused(protected, Key.PROBE, None)
    assert protected.check(Key.PROBE, "Bearer key-2", "a", AT) == 0.0
    assert protected.check(Key.NONE, None, "a", AT) == 0.0


def test_predictions_may_be_open_while_models_are_managed_with_a_key() -> None:
    tokens = made(open_inference=True)
    assert tokens.check(Key.INFERENCE, None, "a") == 0.0
    assert tokens.check(Key.INFERENCE, "Bearer wrong", "a") == 0.0
    refused(tokens, Key.MANAGEMENT, None)
    refused(tokens, Key.API, None)


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ("Bearer abc", "abc"),
        ("Bearer \t abc", "abc"),
        ("Bearer a:b=c", "a:b=c"),
        ("bearer abc", None),
        ("BEARER abc", None),
        ("Bearer", None),
        ("Bearer ", None),
        ("Bearerabc", None),
        (" Bearer abc", None),
        ("Bearer abc ", None),
        ("Bearer abc\n", None),
        ("Bearer abc def", None),
        ("Bearer\xa0abc", None),
        ("Basic abc", None),
        ("", None),
        (None, None),
    ],
)
def test_the_header_has_torchserves_form(header: str | None, key: str | None) -> None:
    assert bearer(header) == key


@given(st.text())
def test_no_header_but_the_right_one_opens_anything(header: str) -> None:
    tokens = made()
    for need, key in MADE.items():
        if header != f"Bearer {key}":
            refused(tokens, need, header)


@pytest.mark.parametrize(
    ("header", "now", "strict"),
    [
        (None, AT, 401),
        ("key-2", AT, 401),
        ("bearer key-2", AT, 401),
        ("Bearer wrong", AT, 403),
        ("Bearer \u00e9", AT, 403),
        ("Bearer key-1", AT, 403),
        ("Bearer key-2", AT + HOUR, 403),
    ],
    ids=["none", "no scheme", "lower case", "wrong", "not ASCII", "another role's", "expired"],
)
def test_failures_are_400_in_torchserves_words_and_strictly_401_or_403(
    header: str | None, now: float, strict: int
) -> None:
    error = refused(made(), Key.INFERENCE, header, now=now)
    assert (error.status, error.type, error.message) == (400, "InvalidKeyException", FAILED)
    assert error.headers == {}
    error = refused(made(strict=True), Key.INFERENCE, header, now=now)
    assert (error.status, error.type, error.message) == (strict, "InvalidKeyException", FAILED)
    assert error.headers == ({"WWW-Authenticate": "Bearer"} if strict == 401 else {})


def test_inference_and_management_keys_expire_and_the_api_key_does_not() -> None:
    tokens = made()
    for need in (Key.INFERENCE, Key.MANAGEMENT):
        assert tokens.check(need, f"Bearer {MADE[need]}", "a", AT + HOUR - 0.001) == 0.0
        refused(tokens, need, f"Bearer {MADE[need]}", now=AT + HOUR)
    assert tokens.check(Key.API, "Bearer key-3", "a", AT + 1000 * HOUR) == 0.0


def test_the_clock_is_asked_when_no_time_is_given() -> None:
    assert made().check(Key.INFERENCE, "Bearer key-2", "a") == 0.0


def test_the_key_file_has_torchserves_form() -> None:
    saved = Saved()
    assert made(saved).publish()
    assert saved.texts == [
        "{\n"
        '  "management": {\n'
        '    "key": "key-1",\n'
        '    "expiration time": "2025-11-24T17:00:00.000000Z"\n'
        "  },\n"
        '  "inference": {\n'
        '    "key": "key-2",\n'
        '    "expiration time": "2025-11-24T17:00:00.000000Z"\n'
        "  },\n"
        '  "API": {\n'
        '    "key": "key-3"\n'
        "  }\n"
        "}"
    ]


@pytest.mark.parametrize(
    ("kind", "renewed", "other"),
    [
        ("management", Key.MANAGEMENT, Key.INFERENCE),
        ("inference", Key.INFERENCE, Key.MANAGEMENT),
        ("INFERENCE", Key.INFERENCE, Key.MANAGEMENT),
    ],
)
def test_the_api_key_renews_one_key_and_the_file(kind: str, renewed: Key, other: Key) -> None:
    saved = Saved()
    tokens = made(saved)
    tokens.rotate(kind, AT + 100)
    refused(tokens, renewed, f"Bearer {MADE[renewed]}", now=AT + 100)
    assert tokens.check(renewed, "Bearer key-4", "a", AT + HOUR + 99) == 0.0
    assert tokens.check(other, f"Bearer {MADE[other]}", "a", AT + 100) == 0.0
    assert tokens.check(Key.API, "Bearer key-3", "a", AT + 100) == 0.0
    document = json.loads(saved.texts[-1])
    assert list(document) == ["management", "inference", "API"]
    assert document[renewed.value]["key"] == "key-4"
    assert document["API"] == {"key": "key-3"}


def test_a_renewed_key_holds_from_now_on_by_the_clock() -> None:
    tokens = made()
    tokens.rotate("inference")
    assert tokens.check(Key.INFERENCE, "Bearer key-4", "a", AT + HOUR - 1) == 0.0
    refused(tokens, Key.INFERENCE, "Bearer key-4", now=AT + HOUR)


@pytest.mark.parametrize("header", [None, "Bearer wrong", "Bearer key-1", "Bearer key-2", "bearer key-3"])
def test_nothing_else_is_the_api_key(header: str | None) -> None:
    found = refused(made(), Key.API, header)
    assert (found.status, found.message) == (400, NOT_RENEWED)


@pytest.mark.parametrize("kind", [None, "", "api", "token_api", "both"])
def test_a_kind_that_cannot_be_renewed_is_refused_as_torchserve_does(kind: str | None) -> None:
    with pytest.raises(InvalidKey) as raised:
        made().rotate(kind, AT)
    assert (raised.value.status, raised.value.message) == (400, NOT_RENEWED)
    assert raised.value.cause == "type must be management or inference"


def test_a_key_that_cannot_be_written_is_not_renewed() -> None:
    def full(text: str) -> None:
        raise OSError(28, "No space left on device")

    tokens = made(full)
    with pytest.raises(TorchkeeperError) as raised:
        tokens.rotate("inference", AT)
    assert raised.value.message == "The key was not renewed: the key file cannot be written."
    assert (raised.value.status, raised.value.cause) == (500, "No space left on device")
    assert tokens.check(Key.INFERENCE, "Bearer key-2", "a", AT) == 0.0


def test_given_keys_neither_expire_nor_change_nor_are_written() -> None:
    saved = Saved()
    tokens = made(saved, {Key.INFERENCE: "from-a-mounted-file"})
    assert tokens.check(Key.INFERENCE, "Bearer from-a-mounted-file", "a", AT + 1e6 * HOUR) == 0.0
    assert tokens.publish()
    assert list(json.loads(saved.texts[0])) == ["management", "API"]
    with pytest.raises(BadRequest, match="TS_INFERENCE_KEY or TS_INFERENCE_KEY_FILE"):
        tokens.rotate("inference", AT)


def test_with_all_keys_given_nothing_is_written() -> None:
    saved = Saved()
    assert not made(saved, {kind: f"given-{kind.name}" for kind in MADE}).publish()
    assert not saved.texts


def test_wrong_keys_are_slowed_down_after_ten_and_missing_ones_are_not() -> None:
    tokens = made()
    for _ in range(50):
        assert refused(tokens, Key.INFERENCE, None).delay == 0.0
    for _ in range(FREE):
        assert refused(tokens, Key.INFERENCE, "Bearer wrong").delay == 0.0
    assert refused(tokens, Key.MANAGEMENT, "Bearer wrong").delay == pytest.approx(STEP, abs=1e-6)
    assert tokens.check(Key.INFERENCE, "Bearer key-2", "a", AT) == STEP
    assert tokens.check(Key.INFERENCE, "Bearer key-2", "another address", AT) == 0.0
    assert tokens.check(Key.NONE, None, "a", AT) == 0.0
    assert tokens.check(Key.API, "Bearer key-3", "a", AT) == STEP


def test_new_keys_have_256_bits_and_fit_into_a_header() -> None:
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{43}", key) for key in keys)
    assert all(bearer(f"Bearer {key}") == key for key in keys)


@pytest.mark.parametrize("rules", [{}, {"protect_probes": True}, {"open_inference": True}])
@pytest.mark.parametrize("need", list(Key))
@pytest.mark.parametrize("header", [None, "Bearer wrong", *(f"Bearer {key}" for key in MADE.values())])
@pytest.mark.parametrize("now", [AT, AT + HOUR])
def test_at_once_is_what_check_lets_on(
    rules: dict[str, bool], need: Key, header: str | None, now: float
) -> None:
    tokens = made(**rules)
    found = tokens.at_once(need, header, "a", now)
    try:
        assert (tokens.check(need, header, "a", now) == 0.0) == found
    except InvalidKey:
        assert not found


def test_a_look_is_no_guess_and_who_is_slowed_down_is_not_let_on_at_once() -> None:
    tokens = made()
    for _ in range(2 * FREE):
        assert not tokens.at_once(Key.INFERENCE, "Bearer wrong", "a", AT)
    assert refused(tokens, Key.INFERENCE, "Bearer wrong").delay == 0.0
    for _ in range(FREE):
        refused(tokens, Key.INFERENCE, "Bearer wrong")
    assert not tokens.at_once(Key.INFERENCE, "Bearer key-2", "a", AT)
    assert tokens.at_once(Key.INFERENCE, "Bearer key-2", "b", AT)
