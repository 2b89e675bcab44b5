"""Which samples of a set a stage trains on: `score >= 0.5`, `language = en`, `site != h004.test`.

Names are columns of the per-shard Parquet tables, and `language` (page_language) and `site` (the page's host).
"""
from __future__ import annotations

import dataclasses
import operator
import re
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from crawl import storage
from crawl.errors import UsageError
from shards.manifest import ShardFile, ShardSet

_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    ">=": operator.ge, "<=": operator.le, "!=": operator.ne, ">": operator.gt, "<": operator.lt, "=": operator.eq}
_SHAPE = re.compile(r"\s*(\w+)\s*(>=|<=|!=|=|>|<)\s*(.*?)\s*", re.DOTALL)
_COLUMN_OF = {"language": "page_language", "site": "page_url"}


@dataclasses.dataclass(frozen=True, slots=True)
class Predicate:
    """One comparison; a sample is trained on when all hold."""

    name: str
    comparison: str
    value: str

    def holds(self, values: Sequence[Any]) -> NDArray[np.bool_]:
        """Returns for each value of the column whether the comparison holds; raises UsageError for another type."""
        if self.name == "site":
            values = [urlsplit(value).hostname or "" for value in values]
        compare = _OPERATORS[self.comparison]
        if values and isinstance(values[0], str):
            return np.array([bool(compare(value, self.value)) for value in values], bool)
        try:
            wanted = float(self.value)
        except ValueError as error:
            raise UsageError(f"{self}: {self.name} is a number, {self.value!r} is none") from error
        return np.asarray(compare(np.array(values, np.float64), wanted), bool)

    def __str__(self) -> str:
        return f"{self.name} {self.comparison} {self.value}"


def parse_predicate(text: str) -> Predicate:
    """Returns a comparison; raises ValueError that shows one.

    >>> parse_predicate("score>=0.5"), str(parse_predicate("site != a.example"))
    (Predicate(name='score', comparison='>=', value='0.5'), 'site != a.example')
    """
    found = _SHAPE.fullmatch(text)
    if not found or not found[3]:
        raise ValueError(f"{text!r} is no comparison; write one like 'score >= 0.5' or 'language = en'")
    return Predicate(found[1], found[2], found[3])


def rows_that_hold(shards: ShardSet, shard: ShardFile, keys: NDArray[np.bytes_],
                   predicates: Sequence[Predicate]) -> NDArray[np.bool_]:
    """Returns for each key of a shard's index whether all predicates hold.

    Raises UsageError for a set without tables (a foreign one), a column that its tables do not have, or a table of
    other samples than the index.
    """
    if not predicates:
        return np.ones(len(keys), bool)
    if not shard.table:
        raise UsageError(f"{shards.directory}/{shard.name} has no table of its samples, so {predicates[0]} cannot be "
                         f"asked; leave `where` empty, or use shards that this project built")
    import pyarrow.parquet as parquet
    path = shards.path(shard.table)
    with storage.opened(path) as file:
        columns = parquet.read_schema(file).names
    wanted = [_COLUMN_OF.get(one.name, one.name) for one in predicates]
    for predicate, column in zip(predicates, wanted, strict=True):
        if column not in columns:
            raise UsageError(f"{predicate}: {path} has no column {column!r}; it has {', '.join(sorted(columns))}")
    with storage.opened(path) as file:
        table = parquet.read_table(file, columns=["key", *dict.fromkeys(wanted)])
    if [key.encode() for key in table["key"].to_pylist()] != keys.tolist():
        raise UsageError(f"{path} lists other samples than {shard.index}; build the shards again")
    held = [one.holds(table[column].to_pylist()) for one, column in zip(predicates, wanted, strict=True)]
    return np.asarray(np.logical_and.reduce(held), bool)
