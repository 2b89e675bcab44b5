"""Equal rows give equal bytes; the logical digest does not see order or cuts."""
import dataclasses
import hashlib
import random

import pytest

from crawl.config import canonical_json
from crawl.records import Candidate, Signal, SourceText
from crawl.tables import add_digests, encode_table, read_table, row_digest, schema_of, write_table


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    key: str
    count: int
    texts: tuple[SourceText, ...]
    outcome: str


ROWS = [Row("a", 1, (SourceText("alt", "x"),), "kept"), Row("b", 2, (), "too_small"), Row("c", 3, (), "kept")]


def test_round_trip_and_entry(tmp_path):
    entry = write_table(str(tmp_path), "rows.parquet", Row, ROWS)
    assert list(read_table(str(tmp_path / "rows.parquet"), Row)) == ROWS
    assert entry.rows == 3
    assert entry.outcomes == (("kept", 2), ("too_small", 1))
    assert entry.bytes == (tmp_path / "rows.parquet").stat().st_size


def test_the_digest_is_of_the_canonical_json():
    """Written by another encoder; the digests in older manifests are to stay true."""
    draw = random.Random(1)
    letters = [*map(chr, range(0x300)), "\u2028", "\u2029", "\ud7ff", "\uffff", "\U0001f600"]
    for count in (0, -1, 2**63 - 1):
        texts = tuple(SourceText("alt", "".join(draw.choices(letters, k=500))) for _ in range(9))
        row = Row("".join(letters), count, texts, "")
        plain = canonical_json(dataclasses.asdict(row)).encode()
        assert row_digest(row) == int.from_bytes(hashlib.sha256(plain).digest(), "big")


def test_equal_rows_equal_bytes():
    assert encode_table(Row, ROWS) == encode_table(Row, list(ROWS))


def test_logical_digest_ignores_order_and_cuts():
    whole = encode_table(Row, ROWS)[1]["digest"]
    assert encode_table(Row, ROWS[::-1])[1]["digest"] == whole
    parts = [encode_table(Row, part)[1]["digest"] for part in (ROWS[:1], ROWS[1:])]
    assert add_digests(int(part, 16) for part in parts) == whole
    assert encode_table(Row, ROWS[:2])[1]["digest"] != whole


def test_a_record_is_its_schema():
    schema = schema_of(Candidate)
    assert schema.names == [field.name for field in dataclasses.fields(Candidate)]
    assert not any(field.nullable for field in schema)


def test_a_type_without_a_column_is_refused():
    @dataclasses.dataclass(frozen=True)
    class Odd:
        value: dict

    with pytest.raises(TypeError, match="no column type"):
        schema_of(Odd)


def test_nested_records(tmp_path):
    @dataclasses.dataclass(frozen=True, slots=True)
    class Plain:
        key: str
        signals: tuple[Signal, ...]

    rows = [Plain("k", (Signal("robots", "Disallow: /", "deny", "line 2"),))]
    # a class defined in a function has no resolvable module name; the fields above are plain, so this still works
    write_table(str(tmp_path), "p.parquet", Plain, rows)
    assert list(read_table(str(tmp_path / "p.parquet"), Plain)) == rows
