"""Pages of known encoding, none declared: who reads the text that was written?  Ours, two detectors, a plain browser.

    python -m benchmarks.charset --shared ../shared [--peers DIR]

The pages are the test pages of chardet, by true encoding.  A page counts as read when its text comes out as it was
written, whatever the encoding is called: the same bytes are often the same text in several.  A name is decoded as
browsers decode that label, for every side.  "WHATWG alone" is mark, meta element, else windows-1252.  What no browser
decodes (EUC-TW, IBM855, Johab, UTF-32, ISO-2022-KR) is a line of its own.  Writes results/charset.json.
"""
from __future__ import annotations

import argparse
import collections
import json
import pathlib
import re
import subprocess
import time
from typing import Any

from benchmarks.machine import write_result
from benchmarks.peers import Peer, peer
from crawl import charset

SIDES = ("ours", "charset-normalizer", "chardet", "WHATWG alone")
_CODECS = {"Big5": "big5hkscs", "TIS-620": "cp874", "MacCyrillic": "mac_cyrillic", "IBM855": "cp855", "ascii": "cp1252",
           "GB2312": "gb18030", "EUC-KR": "cp949", "SHIFT_JIS": "cp932", "iso-8859-1": "cp1252",
           "utf-8-sig": "utf_8_sig"}
_NOT_OF_THE_WEB = frozenset({"EUC-TW", "IBM855", "Johab", "UTF-32", "UTF-32BE", "UTF-32LE", "iso-2022-kr"})
_PEER = """
import json, sys, time
import chardet, charset_normalizer
answers, seconds = {}, {"chardet": 0.0, "charset-normalizer": 0.0}
for path in json.load(sys.stdin):
    data = open(path, "rb").read()
    began = time.process_time()
    first = chardet.detect(data)["encoding"]
    between = time.process_time()
    best = charset_normalizer.from_bytes(data).best()
    seconds["chardet"] += between - began
    seconds["charset-normalizer"] += time.process_time() - between
    answers[path] = {"chardet": first or "", "charset-normalizer": best.encoding if best else ""}
json.dump({"answers": answers, "seconds": seconds}, sys.stdout)
"""


def truth_of(folder: str) -> str | None:
    """Returns the codec of a folder of pages, None where Python has none.

    >>> truth_of("iso-8859-2-czech"), truth_of("windows-1255-hebrew"), truth_of("EUC-TW")
    ('iso-8859-2', 'windows-1255', None)
    """
    if folder == "EUC-TW":
        return None
    found = re.fullmatch(r"((?:iso-8859|windows)-\d+)-[a-z]+", folder)
    return _CODECS.get(folder) or (found[1] if found else folder)


def text_of(data: bytes, name: str) -> str:
    """Returns bytes as a browser decodes the label `name`, or Python where it is no label; marks are dropped."""
    known = charset.encoding_of_label(name.replace("_", "-")) or charset.encoding_of_label(name)
    if known:
        return charset.decode(data, f"text/html; charset={known}")[0]
    try:
        return data.decode(name or "cp1252", errors="replace").removeprefix("\ufeff")
    except LookupError:
        return data.decode("cp1252", errors="replace")


def whatwg(data: bytes) -> str:
    """Returns the encoding of a page of which only its own bytes are known, by the standard, without a detector."""
    marks = {b"\xef\xbb\xbf": "utf-8", b"\xfe\xff": "utf-16be", b"\xff\xfe": "utf-16le"}
    return next((name for mark, name in marks.items() if data.startswith(mark)),
                charset.charset_of_meta(data) or "windows-1252")


def measure(folder: pathlib.Path, other: Peer) -> dict[str, Any]:
    """Returns for each side how many pages it reads, by encoding, and its CPU-seconds."""
    pages = [(truth, path) for group in sorted(folder.iterdir()) if group.is_dir() and (truth := truth_of(group.name))
             for path in sorted(group.iterdir())]
    told = json.loads(subprocess.run(
        [other.program("python"), "-c", _PEER], input=json.dumps([str(path) for _, path in pages]), check=True,
        capture_output=True, text=True).stdout)
    charset.load_all()
    rows: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    seconds: dict[str, float] = told["seconds"] | {"ours": 0.0}
    missed: dict[str, list[str]] = {side: [] for side in SIDES}
    for truth, path in pages:
        data = path.read_bytes()
        began = time.process_time()
        ours = charset.charset_of(data, "text/html")
        seconds["ours"] += time.process_time() - began
        names = told["answers"][str(path)] | {"ours": ours, "WHATWG alone": whatwg(data)}
        wanted = data.decode(truth, errors="replace").removeprefix("\ufeff")
        rows[path.parent.name]["pages"] += 1
        for side in SIDES:
            right = text_of(data, names[side]) == wanted
            rows[path.parent.name][side] += right
            if not right:
                missed[side].append(f"{path.parent.name}/{path.name}: {names[side] or 'nothing'}")
    of_web = [counts for name, counts in rows.items() if name not in _NOT_OF_THE_WEB]
    total, rest = (sum(lines, collections.Counter()) for lines in (
        of_web, [counts for name, counts in rows.items() if name in _NOT_OF_THE_WEB]))
    return {"of_the_web": {name: total[name] for name in ("pages", *SIDES)},
            "not_of_the_web": {name: rest[name] for name in ("pages", *SIDES)},
            "share_read": {side: round(total[side] / total["pages"], 4) for side in SIDES},
            "cpu_s": {side: round(value, 3) for side, value in seconds.items()},
            "by_encoding": {name: {key: counts[key] for key in ("pages", *SIDES)} for name, counts in rows.items()},
            "missed_by_ours": missed["ours"]}


def main() -> None:
    """Reads every page and writes `results/charset.json`."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--shared", type=pathlib.Path, required=True, help="folder with data/fixtures/charset")
    options.add_argument("--peers", type=pathlib.Path, help="folder of the peers' environments (benchmarks/peers.py)")
    args = options.parse_args()
    folder = args.shared / "data" / "fixtures" / "charset"
    if not folder.is_dir():
        raise SystemExit(f"{folder}: the pages are not here; name the folder that has them with --shared")
    other = peer("chardet", args.peers)
    result = measure(folder, other)
    for name, counts in result["by_encoding"].items():
        print(f"{name:24} {counts['pages']:3} pages " + "".join(f"  {side} {counts[side]}" for side in SIDES))
    print(f"of the web: {result['share_read']}; CPU-seconds: {result['cpu_s']}")
    print(write_result("charset", "python -m benchmarks.charset", result | {"peer": other.versions()}))


if __name__ == "__main__":
    main()
