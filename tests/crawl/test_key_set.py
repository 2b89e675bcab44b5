import hashlib

from crawl.key_set import KeySet


def test_it_holds_what_was_added_and_nothing_else():
    keys = [hashlib.sha256(b"%d" % number).hexdigest()[:32] for number in range(6000)]
    keys += ["0" * 32, "00" * 8 + "01" * 8, "01" * 8 + "00" * 8, "ff" * 16, "ff" * 15 + "00"]
    done = KeySet()
    for start in range(0, 3000, 700):
        done.add(keys[start:min(start + 700, 3000)])
    done.add(keys[6000:])
    done.add([])
    assert len(done) == 3005 and len(done._sorted) <= 12
    assert all(key in done for key in [*keys[:3000], *keys[6000:]]) and not any(key in done for key in keys[3000:6000])
    assert "00" * 15 + "01" not in done and "01" + "00" * 15 not in done
