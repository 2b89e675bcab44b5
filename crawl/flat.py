"""Records as plain JSON lists and back: how they cross the pipe of the sandbox.

Back is checked, field by field: the other side may have been taken over by the bytes it looked at.
"""
from __future__ import annotations

import dataclasses
import functools
import typing
from collections.abc import Callable
from typing import Any, TypeVar

R = TypeVar("R")
Convert = Callable[[Any], Any]


def flat(record: Any, leave_out: frozenset[str] = frozenset()) -> list[Any]:
    """Returns the values of a record in the order of its fields, records inside it as lists; all but some fields.

    >>> from crawl.records import Link
    >>> flat(Link("a", "b", "http://c/", 1, False), frozenset({"src_key"}))
    ['b', 'http://c/', 1, False, 'page']
    """
    return [inner(getattr(record, name)) if inner else getattr(record, name)
            for name, inner in _flatteners(typing.cast(Any, type(record))) if name not in leave_out]


def unflat(record_type: type[R], values: Any, **left_out: Any) -> R:
    """Returns the record of `flat` values and of the fields that were left out; raises ValueError for other values."""
    names, types, nested = _plan(typing.cast(Any, record_type), tuple(left_out))
    if type(values) is not list or [type(value) for value in values] != types:
        raise ValueError(f"no {record_type.__name__}")
    named = dict(zip(names, values, strict=True))
    for name, build in nested:
        named[name] = build(named[name])
    return record_type(**named, **left_out)


@functools.cache
def _flatteners(record_type: Any) -> list[tuple[str, Convert | None]]:
    return [(name, _flattener(hint)) for name, hint in _hints(record_type)]


def _flattener(hint: Any) -> Convert | None:
    """Returns what a value needs before it is JSON, None for one that is."""
    if dataclasses.is_dataclass(hint):
        return flat
    if typing.get_origin(hint) is tuple and (inner := _flattener(typing.get_args(hint)[0])):
        return lambda items: [inner(item) for item in items]
    return None


@functools.cache
def _plan(record_type: Any, left_out: tuple[str, ...]) -> tuple[list[str], list[type], list[tuple[str, Convert]]]:
    """Returns the names and JSON types of the fields that are given, and how the lists among them are built."""
    fields = [(name, hint) for name, hint in _hints(record_type) if name not in left_out]
    types = [hint if hint in (str, int, float, bool) else list for _, hint in fields]
    return [name for name, _ in fields], types, [
        (name, _builder(hint)) for (name, hint), kind in zip(fields, types, strict=True) if kind is list]


def _builder(hint: Any) -> Convert:
    if dataclasses.is_dataclass(hint):
        return functools.partial(unflat, typing.cast(type, hint))
    inner = typing.get_args(hint)[0]           # of tuple[..., ...]: records have nothing else
    if inner not in (str, int, float, bool):
        build = _builder(inner)
        return lambda values: tuple([build(value) for value in values])

    def checked(values: list[Any]) -> tuple[Any, ...]:
        if any(type(value) is not inner for value in values):
            raise ValueError(f"another thing than {inner.__name__} in a list")
        return tuple(values)
    return checked


def _hints(record_type: Any) -> list[tuple[str, Any]]:
    hints = typing.get_type_hints(record_type)
    return [(field.name, hints[field.name]) for field in dataclasses.fields(record_type)]
