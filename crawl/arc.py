"""Records of ARC files, what archives were before WARC: one line says URL, address, date, type and length.

The format of the Internet Archive, 1996: version 1 has five fields, version 2 ten.  A record comes out with the fields
of a WARC response, so that who reads it need not know.
"""
from __future__ import annotations

import re

BEGIN = b"filedesc:"               # of the first record, which describes the file
MAX_LINE = 8 << 10               # bytes of the line that begins a record
_WHEN = rb"(\d{1,3}(?:\.\d{1,3}){3}|[0-9A-Fa-f:]{0,39}:[0-9A-Fa-f.:]{0,39}|-) (\d{8,20})"
_V1 = rb"([^\r\n]{1,4096}) %s ([^ \r\n]{0,256}) (-?[^ \r\n]{1,20})" % _WHEN
_V2 = (rb"([^\r\n]{1,4096}) %s ([^ \r\n]{0,256}) (?:\d{1,3}|-) [^ \r\n]{1,128} [^ \r\n]{1,4096} \d{1,15} "
       rb"[^ \r\n]{1,1024} (-?[^ \r\n]{1,20})") % _WHEN
_LINE = re.compile(rb"(?:%s|%s)\r?\n" % (_V2, _V1))
# Where a record may begin behind a broken one: the line of its header, with the scheme of a URL.
NEXT = re.compile(rb"(?<=\n)[A-Za-z][A-Za-z0-9+.-]{1,15}:[^\r\n]{1,4096} %s [^\r\n]{1,4096}\r?\n" % _WHEN)


def head_at(data: bytes, at: int) -> tuple[dict[str, str], int] | None:
    """Returns the fields of the record at a place and the size of its header, None where there is none.

    >>> head_at(b"http://a.test/x y 1.2.3.4 20140216050221 text/html 1591\\n", 0)[0]["warc-target-uri"]
    'http://a.test/x y'
    """
    line = _LINE.match(data, at, at + MAX_LINE)
    if line is None:
        return None
    url, address, date, kind, length = (group.decode("utf-8", "replace") for group in line.groups()
                                      if group is not None)
    if not (length.isascii() and length.isdecimal() and len(length) < 16):
        return None
    fields = {"warc-type": "warcinfo" if url.startswith("filedesc:") else "response", "warc-target-uri": url,
              "warc-ip-address": address, "warc-date": _iso(date), "content-type": kind, "content-length": length}
    return fields, line.end() - at


def _iso(date: str) -> str:
    """Returns the first 14 digits of a date as ISO 8601, "" where there are fewer.

    >>> _iso("20140216050221")
    '2014-02-16T05:02:21Z'
    """
    if len(date) < 14:
        return ""
    return f"{date[:4]}-{date[4:6]}-{date[6:8]}T{date[8:10]}:{date[10:12]}:{date[12:14]}Z"
