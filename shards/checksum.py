"""The CRC-32 of zlib and gzip, by ISA-L where it is installed: the same number, several times as fast."""
from __future__ import annotations

import zlib
from collections.abc import Callable

crc32: Callable[..., int]
try:
    from isal import isal_zlib
except ImportError:                    # a machine that only trains may do without
    crc32 = zlib.crc32
else:
    crc32 = isal_zlib.crc32
