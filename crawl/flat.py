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
    fields = [pair for pair in _builders(typing.cast(Any, record_type)) if pair[0] not in left_out]
    if not isinstance(values, list) or len(values) != len(fields):
        raise ValueError(f"no {record_type.__name__}")
    return record_type(**{name: build(value) for (name, build), value in zip(fields, values, strict=True)}, **left_out)


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
def _builders(record_type: Any) -> list[tuple[str, Convert]]:
    return [(name, _builder(hint)) for name, hint in _hints(record_type)]


def _builder(hint: Any) -> Convert:
    if dataclasses.is_dataclass(hint):
        return functools.partial(unflat, typing.cast(type, hint))
    if typing.get_origin(hint) is tuple:
        inner = _builder(typing.get_args(hint)[0])

        def build(values: Any) -> tuple[Any, ...]:
            if type(values) is not list:
                raise ValueError(f"{type(values).__name__} where a list belongs")
            return tuple([inner(value) for value in values])
        return build

    def check(value: Any) -> Any:
        if type(value) is not hint:
            raise ValueError(f"{type(value).__name__} where {hint.__name__} belongs")
        return value
    return check


def _hints(record_type: Any) -> list[tuple[str, Any]]:
    hints = typing.get_type_hints(record_type)
    return [(field.name, hints[field.name]) for field in dataclasses.fields(record_type)]
