"""Checks of arguments, with the error texts of RedisGears."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from redisai_py.flows.errors import GearsError

T = TypeVar("T")


def count(arguments: tuple[Any, ...], function: str, *allowed: int) -> None:
    if len(arguments) not in allowed:
        raise GearsError(f"Wrong number of arguments given to {function}")


def of_type(value: Any, kind: type[T], text: str) -> T:
    if not isinstance(value, kind):
        raise GearsError(text)
    return value


def iterable(value: Any, text: str) -> list[Any]:
    if not isinstance(value, Iterable):
        raise GearsError(text)
    return list(value)


def each_of_type(value: Any, kind: type[T], not_iterable: str, text: str) -> list[T]:
    return [of_type(item, kind, text) for item in iterable(value, not_iterable)]


def encode(text: str) -> bytes:
    """A key or a name as the server knows it."""
    return text.encode(errors="surrogateescape")


def name_and_tensor(first: Any, second: Any) -> tuple[Any, Any]:
    """(name, tensor), which the documentation has the other way round."""
    return (second, first) if isinstance(second, str) and not isinstance(first, str) else (first, second)
