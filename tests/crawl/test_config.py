"""--set by dotted name; nothing unknown, nothing of the wrong type."""
import dataclasses

import pytest

from crawl.config import as_dict, digest, override
from crawl.errors import UsageError


@dataclasses.dataclass(frozen=True)
class Inner:
    limit: int = 3
    rate: float = 0.5
    names: tuple[str, ...] = ("a",)
    label: str = ""
    flag: bool = False

    def __post_init__(self):
        if self.limit < 0:
            raise ValueError(f"limit {self.limit} is negative; give 0 or more")


@dataclasses.dataclass(frozen=True)
class Outer:
    inner: Inner = dataclasses.field(default_factory=Inner)


@pytest.mark.parametrize("assignment, field, value", [
    ("inner.limit=7", "limit", 7), ("inner.rate=2", "rate", 2.0), ('inner.names=["x","y"]', "names", ("x", "y")),
    ("inner.label=12", "label", "12"), ("inner.flag=true", "flag", True)])
def test_override(assignment, field, value):
    changed = getattr(override(Outer(), [assignment]).inner, field)
    assert changed == value
    assert type(changed) is type(value)


@pytest.mark.parametrize("assignment, message", [
    ("inner.limit", "has no '='"), ("inner.limits=1", "it has flag, label, limit"), ("outer=1", "Outer has no"),
    ("inner.limit=many", "'many' is not"), ("inner.limit=-1", "negative"), ("inner.limit=true", "is not"),
    ("inner.limit.x=1", "not a group")])
def test_bad_overrides_are_one_clear_line(assignment, message):
    with pytest.raises(UsageError, match=message) as caught:
        override(Outer(), [assignment])
    assert "\n" not in str(caught.value)


def test_digest_sees_values_not_objects():
    assert digest(Outer()) == digest(Outer(Inner()))
    assert digest(Outer()) != digest(Outer(Inner(limit=4)))
    assert as_dict(Outer())["inner"]["names"] == ["a"]
