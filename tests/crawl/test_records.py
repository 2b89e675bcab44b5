"""Records travel between workers: pickled, they come back equal."""
from __future__ import annotations

import copy
import dataclasses
import pickle
import typing

import pytest

import crawl.records
import filter.records
import shards.records
from crawl.records import Row

RECORDS = [kind for module in (crawl.records, filter.records, shards.records) for kind in vars(module).values()
           if isinstance(kind, type) and issubclass(kind, Row) and kind is not Row]


def example(kind: typing.Any) -> typing.Any:
    """A record in which every field has a value of its own."""
    return kind(**{field.name: value(hint, number) for number, (field, hint) in enumerate(
        (field, typing.get_type_hints(kind)[field.name]) for field in dataclasses.fields(kind))})


def value(hint: typing.Any, number: int) -> typing.Any:
    if typing.get_origin(hint) is tuple:
        return (value(typing.get_args(hint)[0], number),) * 2
    if dataclasses.is_dataclass(hint):
        return example(hint)
    return bytes([number]) if hint is bytes else hint(number)


@pytest.mark.parametrize("kind", RECORDS)
def test_a_record_comes_back_as_it_was(kind: typing.Any) -> None:
    record = example(kind)
    for back in (pickle.loads(pickle.dumps(record)), copy.copy(record), copy.deepcopy(record)):
        assert type(back) is kind and back == record


def test_every_record_of_the_packages_is_a_row() -> None:
    assert len(RECORDS) > 20
