"""What the value of a key of config.properties can be: a text in, a value or a ValueError out. Pure.

Source of what is read leniently: TorchServe takes every boolean but `true` for false, every whole number of
32 bits, and falls back where a mode or a time is none.
"""

from __future__ import annotations

import ipaddress
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar
from urllib.parse import urlsplit

T = TypeVar("T")

#: The greatest of Java's whole numbers, and of the longer ones.
_INT = 2**31 - 1
LONG = 2**63 - 1
_CENTURY = 100 * 365 * 24 * 60


@dataclass(frozen=True)
class Address:
    """Where to listen: `http(s)://host[:port]` or `unix:/path`."""

    scheme: str
    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"unix:{self.path}" if self.path else f"{self.scheme}://{host}:{self.port}"


@dataclass(frozen=True)
class Instead(Generic[T]):
    """What is used in place of a text that starts TorchServe too and yet is no value; `said` of it."""

    value: T
    said: str


@dataclass(frozen=True)
class Form(Generic[T]):
    """What a value must be, and what becomes of texts that TorchServe takes all the same."""

    #: Raises ValueError, whose text says what the value must be.
    parse: Callable[[str], T]
    #: Raises ValueError where TorchServe does not start either.
    lenient: Callable[[str], Instead[T]] | None = None


def _java_number(value: str, high: int = _INT) -> int:
    if not re.fullmatch(r"[+-]?\d{1,19}", value.strip(), re.ASCII):
        raise ValueError("must be a whole number")
    number = int(value)
    if abs(number) > high:
        raise ValueError(f"must be at most {high}")
    return number


def _boolean(value: str) -> bool:
    if value.lower() not in ("true", "false"):
        raise ValueError("must be true or false")
    return value.lower() == "true"


#: Blanks count: TorchServe takes `true` with a blank behind it for false.
boolean = Form(_boolean, lambda value: Instead(False, "false is used, as by TorchServe"))
text = Form[str | None](lambda value: value.strip() or None)


def _protocol(value: str) -> bool:
    return value == "oip" or _boolean(value)


#: TorchServe's variable of this key says `oip` for true.
protocol = Form(_protocol, boolean.lenient)
#: A text that is as it was written, blanks and all.
password = Form[str](lambda value: value)


def _path(value: str) -> Path | None:
    if not value.strip():
        return None
    try:
        return Path(value.strip()).expanduser()
    except RuntimeError:
        raise ValueError("names the home of a user that cannot be found") from None


path = Form(_path)
#: Schemes of the services that keep objects in buckets.
SERVICES = ("s3", "gs")


def is_cloud(url: str) -> bool:
    """Whether a URL is one of a service's own scheme."""
    return url.startswith(tuple(f"{service}://" for service in SERVICES))


def bucket_of(url: str) -> str:
    """The bucket that a URL of a service's own scheme names.

    Raises:
        ValueError: it names none.
    """
    bucket = urlsplit(url).netloc
    if not bucket:
        raise ValueError(f"{url} names no bucket")
    return bucket


comma_list = Form(lambda value: tuple(part.strip() for part in value.split(",") if part.strip()))
paths = Form(lambda value: tuple(part for text in comma_list.parse(value) if (part := _path(text))))


def _word(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be empty")
    return value.strip()


#: A text that cannot be empty.
word = Form(_word)
host = Form(_word, lambda value: Instead("127.0.0.1", "127.0.0.1 is used, as by TorchServe"))


def whole(low: int, high: int = _INT, *, instead: int | None = None) -> Form[int]:
    """A whole number; `instead` is used for one that is too small, if TorchServe starts with it."""

    def parse(value: str) -> int:
        number = _java_number(value, max(high, _INT))
        if number < low or number > high:
            known = high in (_INT, LONG)
            raise ValueError(f"must be at least {low}" if known else f"must be from {low} to {high}")
        return number

    def lenient(value: str) -> Instead[int]:
        _java_number(value)
        assert instead is not None
        return Instead(instead, f"{instead} is used")

    return Form(parse, None if instead is None else lenient)


def or_nothing(form: Form[T]) -> Form[T | None]:
    """The same, or empty for None."""
    lenient = form.lenient

    def otherwise(value: str) -> Instead[T | None]:
        assert lenient is not None
        found = lenient(value)
        return Instead(found.value, found.said)

    return Form(
        lambda value: form.parse(value) if value.strip() else None, None if lenient is None else otherwise
    )


port = whole(0, 65535)
#: gRPC's times are of Java's longer numbers.
milliseconds = or_nothing(whole(0, LONG))


def seconds(instead: float) -> Form[float]:
    """A time that is greater than 0; `instead` is used for a whole number that is not."""

    def parse(value: str) -> float:
        try:
            number = float(value)
        except ValueError:
            raise ValueError("must be a number of seconds") from None
        if not 0 < number < float("inf"):
            raise ValueError("must be greater than 0")
        return number

    def lenient(value: str) -> Instead[float]:
        _java_number(value)
        return Instead(instead, f"{instead:g} is used")

    return Form(parse, lenient)


def _minutes(value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        raise ValueError("must be a number of minutes") from None
    if not 0 < number <= _CENTURY:
        raise ValueError(f"must be greater than 0 and at most {_CENTURY} (a hundred years)")
    return number


def _lenient_minutes(value: str) -> Instead[float]:
    """TorchServe makes keys that are born expired from 0 and less, and 60 minutes of what is no number."""
    try:
        number = float(value)
    except ValueError:
        return Instead(60.0, "60 is used, as by TorchServe")
    if number > 0:
        return Instead(float(_CENTURY), f"{_CENTURY} is used")
    return Instead(0.0, "keys are expired from the beginning, as under TorchServe")


minutes = Form(_minutes, _lenient_minutes)


def _compiled(value: str, flags: int = 0) -> re.Pattern[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", FutureWarning)  # sets of sets, which Java has and Python has not
            return re.compile(value, flags)
    except FutureWarning as error:
        raise ValueError(f"is not read by Python as Java reads it: {error}") from None
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"is not a regular expression: {error}") from None


pattern = Form[re.Pattern[str] | None](lambda value: _compiled(value.strip()) if value.strip() else None)


def _url(value: str) -> re.Pattern[str]:
    return _compiled(value, re.IGNORECASE)


def _readable_urls(value: str) -> Instead[tuple[re.Pattern[str], ...]]:
    """What cannot be read allows nothing, as in TorchServe, where it fails each time it is asked."""
    found, bad = [], []
    for part in comma_list.parse(value):
        try:
            found.append(_url(part))
        except ValueError:
            bad.append(part)
    return Instead(tuple(found), f"{', '.join(bad)} allows nothing")


urls = Form(lambda value: tuple(_url(part) for part in comma_list.parse(value)), _readable_urls)


def choice(*known: str, instead: str | None = None) -> Form[str]:
    """One of these words, in any case; `instead` is used for any other, as by TorchServe."""

    def parse(value: str) -> str:
        plain = re.sub(r"\s", "", value).lower()
        if plain not in known:
            raise ValueError(f"must be one of {', '.join(known)}")
        return plain

    def lenient(value: str) -> Instead[str]:
        assert instead is not None
        return Instead(instead, f"{instead} is used, as by TorchServe")

    return Form(parse, None if instead is None else lenient)


#: Names of the envelopes that handlers can be put in.
ENVELOPES = ("body", "json", "kserve", "kservev2")


Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _networks(value: str) -> tuple[Network, ...]:
    try:
        return tuple(ipaddress.ip_network(part, strict=False) for part in comma_list.parse(value))
    except ValueError as error:
        raise ValueError(f"must be addresses or networks (10.0.0.0/8), by commas: {error}") from None


networks = Form(_networks)


def _envelope(value: str) -> str | None:
    if value.strip() and value.strip() not in ENVELOPES:
        raise ValueError(f"must be empty or one of {', '.join(ENVELOPES)}")
    return value.strip() or None


envelope = Form(_envelope)


def address(plain: int, tls: int) -> Form[Address]:
    """An address, with the ports that hold where it names none."""

    def parse(value: str) -> Address:
        value = value.strip()
        if value.lower().startswith("unix:"):
            place = value[len("unix:") :]
            if not place:
                raise ValueError("needs a path after unix:")
            return Address("unix", path=place)
        match = re.fullmatch(
            r"(https?)://(\[[0-9a-f:]+\]|[^/:\s]+)(?::(\d{1,19}))?/?", value, re.IGNORECASE | re.ASCII
        )
        if match is None:
            raise ValueError("must be http://host:port, https://host:port or unix:/path")
        scheme = match[1].lower()
        number = int(match[3]) if match[3] else (tls if scheme == "https" else plain)
        if number > 65535:
            raise ValueError(f"port {number} is not from 0 to 65535")
        return Address(scheme, match[2].strip("[]"), number)

    return Form(parse)
