"""Configs are frozen dataclasses: written beside outputs, hashed into stage names, overridden by dotted name."""
from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import types
import typing
from typing import Any, TypeVar

from crawl.errors import UsageError

C = TypeVar("C")


def as_dict(config: Any) -> dict[str, Any]:
    """Returns a config as plain JSON values; tuples become lists."""
    return json.loads(canonical_json(dataclasses.asdict(config)))


def canonical_json(value: Any) -> str:
    """Returns JSON with sorted keys and no free white space: equal values, equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: Any) -> str:
    """Returns the sha256 hex of a config or of any JSON value."""
    plain = dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else value
    return hashlib.sha256(canonical_json(plain).encode()).hexdigest()


def parsed(kind: type[C], value: Any, where: str) -> C:
    """Returns the config that `as_dict` wrote; raises UsageError where it is none of this kind."""
    try:
        return _built(kind, value)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"{where}: not a {kind.__name__} as this version writes it "
                         f"({type(error).__name__}: {error})") from error


def _built(kind: Any, value: Any) -> Any:
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        hints = typing.get_type_hints(kind)
        return kind(**{name: _built(hints[name], one) for name, one in value.items()})
    if typing.get_origin(kind) is tuple and isinstance(value, list):
        return tuple(_built(typing.get_args(kind)[0], one) for one in value)
    return value


def override(config: C, assignments: list[str]) -> C:
    """Returns `config` with `a.b=value` assignments applied; values are JSON, or text where JSON does not parse.

    Where a config holds a tuple of named groups, one of them is addressed by its name.

    Raises UsageError for a name the config does not have or a value of the wrong type.

    >>> @dataclasses.dataclass(frozen=True)
    ... class Rules:
    ...     min_words: int = 3
    >>> override(Rules(), ["min_words=5"])
    Rules(min_words=5)
    """
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise UsageError(f"--set {assignment!r} has no '='; write --set name=value")
        config = _replace(config, name.split("."), text, assignment)
    return config


def _replace(config: C, names: list[str], text: str, assignment: str) -> C:
    fields = {field.name: field for field in dataclasses.fields(config)}  # type: ignore[arg-type]
    if names[0] not in fields and len(names) > 1:
        for field in fields:
            items = getattr(config, field)
            if isinstance(items, tuple) and any(getattr(item, "name", None) == names[0] for item in items):
                changed = tuple(_replace(item, names[1:], text, assignment)
                                if getattr(item, "name", None) == names[0] else item for item in items)
                return _with(config, field, changed, assignment)
    if names[0] not in fields:
        raise UsageError(f"--set {assignment!r}: {type(config).__name__} has no {names[0]!r}; "
                         f"it has {', '.join(sorted(fields))}")
    current = getattr(config, names[0])
    if len(names) > 1:
        if not dataclasses.is_dataclass(current):
            raise UsageError(f"--set {assignment!r}: {names[0]!r} is a value, not a group of settings")
        value = _replace(current, names[1:], text, assignment)
    else:
        hint = typing.get_type_hints(type(config))[names[0]]
        value = _parse(hint, text, assignment)
    return _with(config, names[0], value, assignment)


def _with(config: C, name: str, value: Any, assignment: str) -> C:
    try:
        return dataclasses.replace(config, **{name: value})  # type: ignore[type-var]
    except ValueError as error:
        raise UsageError(f"--set {assignment!r}: {error}") from error


def _parse(hint: Any, text: str, assignment: str) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    accepted = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    for kind in accepted:
        origin = typing.get_origin(kind) or kind
        if origin is float and isinstance(value, (int, float)) and not isinstance(value, bool):
            # NaN passes every comparison with a limit, and neither it nor infinity can be written as JSON.
            if math.isfinite(value):
                return float(value)
            continue
        if origin is tuple and isinstance(value, list):
            item = typing.get_args(kind)[0]
            return tuple(_parse(item, json.dumps(one) if not isinstance(one, str) else one, assignment)
                         for one in value)
        if origin is str and not isinstance(value, str):
            return text
        if isinstance(origin, type) and isinstance(value, origin) and not (origin is int and isinstance(value, bool)):
            return value
    raise UsageError(f"--set {assignment!r}: {text!r} is not {' or '.join(map(_in_words, accepted))}")


def _in_words(kind: Any) -> str:
    """Returns what a person is to write for a type."""
    if dataclasses.is_dataclass(kind):
        names = [field.name for field in dataclasses.fields(kind)]
        return f"a value but a group of settings; set one of {', '.join(sorted(names))}"
    words = {int: "a whole number", float: "a finite number", bool: "true or false", str: "text",
             types.NoneType: "null"}
    return words.get(typing.get_origin(kind) or kind, "a JSON list, such as [\"a\", \"b\"]")
