import random
import zlib

from shards.checksum import crc32


def test_it_is_the_number_of_zlib():
    data = random.Random(3).randbytes(70_001)
    for length in (0, 1, 7, 64, 4097, len(data)):
        assert crc32(data[:length]) == zlib.crc32(data[:length])
    assert crc32(memoryview(data)[9:], crc32(data[:9])) == zlib.crc32(data)
