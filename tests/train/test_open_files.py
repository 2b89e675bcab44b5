import resource

import pytest

from crawl.errors import UsageError
from train import open_files


@pytest.mark.parametrize(("limits", "shards", "told"), [
    ((1024, 4096), 200, None), ((1024, 4096), 300, (1156, 4096)), ((1024, -1), 9000, (27_256, -1)),
    ((-1, -1), 9000, None)])
def test_the_limit_is_raised_as_far_as_it_is_needed(monkeypatch, limits, shards, told):
    said = []
    monkeypatch.setattr(resource, "getrlimit", lambda what: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda what, new: said.append(new))
    open_files.make_room(shards)
    assert said == ([told] if told else [])


def test_more_than_the_process_may_have_is_one_line(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda what: (1024, 4096))
    with pytest.raises(UsageError, match="3000 shards are 9256 open files, this process may have 4096; raise"):
        open_files.make_room(3000)
