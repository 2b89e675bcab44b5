import gzip
import os
import tracemalloc
import zlib

import brotli
import pytest

from crawl.decode import decode

TEXT = b"hello world " * 1000


def raw_deflate(data):
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    return stream.compress(data) + stream.flush()


@pytest.mark.parametrize("data, encoding", [
    (TEXT, ""), (TEXT, "identity"), (gzip.compress(TEXT), "gzip"), (gzip.compress(TEXT), "X-GZIP"),
    (zlib.compress(TEXT), "deflate"), (raw_deflate(TEXT), "deflate"), (brotli.compress(TEXT), "br"),
    (gzip.compress(brotli.compress(TEXT)), "br, gzip"), (gzip.compress(TEXT[:600]) + gzip.compress(TEXT[600:]), "gzip"),
    (gzip.compress(TEXT) + b"junk", "gzip")])
def test_what_decodes(data, encoding):
    decoded = decode(data, encoding, 10**6, 200)
    assert (decoded.body, decoded.outcome, decoded.truncated) == (TEXT, "ok", False)


@pytest.mark.parametrize("compress, encoding", [
    (lambda data: gzip.compress(data, 1), "gzip"), (lambda data: zlib.compress(data, 1), "deflate"),
    (raw_deflate, "deflate"),
    (lambda data: brotli.compress(data, quality=1), "br"),
    (lambda data: gzip.compress(gzip.compress(data)), "gzip, gzip")])
def test_a_bomb_of_each_coding_is_stopped_early(compress, encoding):
    bomb = compress(bytes(30_000_000))
    tracemalloc.start()
    assert decode(bomb, encoding, 20_000_000, 200).outcome == "bomb"
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12_000_000


@pytest.mark.parametrize("data, encoding", [
    (b"no", "zstd"), (b"no", "gzip"), (b"\xff" * 9, "br"), (b"\xff\xff", "deflate"),
    (gzip.compress(gzip.compress(gzip.compress(TEXT))), "gzip, gzip, gzip")])
def test_bad_encoding(data, encoding):
    assert decode(data, encoding, 100, 200).outcome == "bad_encoding"


@pytest.mark.parametrize("compress, encoding",
                         [(gzip.compress, "gzip"), (brotli.compress, "br"), (zlib.compress, "deflate")])
def test_half_a_stream_is_kept_and_marked(compress, encoding):
    noise = os.urandom(200_000)
    decoded = decode(compress(noise)[:100_000], encoding, 10**6, 200)
    assert (decoded.outcome, decoded.truncated) == ("ok", True)
    assert noise.startswith(decoded.body) and len(decoded.body) > 50_000


def test_a_long_body_is_cut_and_marked():
    for data, encoding in ((TEXT, ""), (gzip.compress(TEXT), "gzip"), (brotli.compress(TEXT), "br")):
        decoded = decode(data, encoding, 100, 200)
        assert (decoded.body, decoded.truncated) == (TEXT[:100], True)
