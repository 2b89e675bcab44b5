"""Which characters are these bytes?  Byte order mark, HTTP charset, meta prescan, a detector, windows-1252.

The order and the labels are those of WHATWG (Encoding, section 4.2; HTML, "prescan a byte stream"); only where nothing
is declared a detector looks at a bounded sample, because a crawler has no user to ask for a locale.
"""
from __future__ import annotations

import codecs
import functools
import re

from crawl.latin import CODE_PAGES, code_page

# Bytes of the head in which WHATWG looks for a meta element.
PRESCAN_BYTES = 1024
# The detector sees at most this much, and first what lies around bytes above 127: markup says nothing.
_SAMPLE_BYTES = 16_384
_SAMPLE_MARGIN = 48

# WHATWG Encoding 4.2: name -> labels.  Python's codec of the same name decodes it, or the one in _CODECS.
_LABELS = {
    "utf-8": "unicode-1-1-utf-8 unicode11utf8 unicode20utf8 utf-8 utf8 x-unicode20utf8",
    "ibm866": "866 cp866 csibm866 ibm866",
    "iso-8859-2": "csisolatin2 iso-8859-2 iso-ir-101 iso8859-2 iso88592 iso_8859-2 iso_8859-2:1987 l2 latin2",
    "iso-8859-3": "csisolatin3 iso-8859-3 iso-ir-109 iso8859-3 iso88593 iso_8859-3 iso_8859-3:1988 l3 latin3",
    "iso-8859-4": "csisolatin4 iso-8859-4 iso-ir-110 iso8859-4 iso88594 iso_8859-4 iso_8859-4:1988 l4 latin4",
    "iso-8859-5": "csisolatincyrillic cyrillic iso-8859-5 iso-ir-144 iso8859-5 iso88595 iso_8859-5 iso_8859-5:1988",
    "iso-8859-6": "arabic asmo-708 csiso88596e csiso88596i csisolatinarabic ecma-114 iso-8859-6 iso-8859-6-e "
                  "iso-8859-6-i iso-ir-127 iso8859-6 iso88596 iso_8859-6 iso_8859-6:1987",
    "iso-8859-7": "csisolatingreek ecma-118 elot_928 greek greek8 iso-8859-7 iso-ir-126 iso8859-7 iso88597 "
                  "iso_8859-7 iso_8859-7:1987 sun_eu_greek",
    "iso-8859-8": "csiso88598e csisolatinhebrew hebrew iso-8859-8 iso-8859-8-e iso-ir-138 iso8859-8 iso88598 "
                  "iso_8859-8 iso_8859-8:1988 visual csiso88598i iso-8859-8-i logical",
    "iso-8859-10": "csisolatin6 iso-8859-10 iso-ir-157 iso8859-10 iso885910 l6 latin6",
    "iso-8859-13": "iso-8859-13 iso8859-13 iso885913",
    "iso-8859-14": "iso-8859-14 iso8859-14 iso885914",
    "iso-8859-15": "csisolatin9 iso-8859-15 iso8859-15 iso885915 iso_8859-15 l9",
    "iso-8859-16": "iso-8859-16",
    "koi8-r": "cskoi8r koi koi8 koi8-r koi8_r",
    "koi8-u": "koi8-ru koi8-u",
    "macintosh": "csmacintosh mac macintosh x-mac-roman",
    "windows-874": "dos-874 iso-8859-11 iso8859-11 iso885911 tis-620 windows-874",
    "windows-1250": "cp1250 windows-1250 x-cp1250",
    "windows-1251": "cp1251 windows-1251 x-cp1251",
    "windows-1252": "ansi_x3.4-1968 ascii cp1252 cp819 csisolatin1 ibm819 iso-8859-1 iso-ir-100 iso8859-1 iso88591 "
                    "iso_8859-1 iso_8859-1:1987 l1 latin1 us-ascii windows-1252 x-cp1252 x-user-defined",
    "windows-1253": "cp1253 windows-1253 x-cp1253",
    "windows-1254": "cp1254 csisolatin5 iso-8859-9 iso-ir-148 iso8859-9 iso88599 iso_8859-9 iso_8859-9:1989 l5 latin5 "
                    "windows-1254 x-cp1254",
    "windows-1255": "cp1255 windows-1255 x-cp1255",
    "windows-1256": "cp1256 windows-1256 x-cp1256",
    "windows-1257": "cp1257 windows-1257 x-cp1257",
    "windows-1258": "cp1258 windows-1258 x-cp1258",
    "x-mac-cyrillic": "x-mac-cyrillic x-mac-ukrainian",
    "gbk": "chinese csgb2312 csiso58gb231280 gb2312 gb_2312 gb_2312-80 gbk iso-ir-58 x-gbk gb18030",
    "big5": "big5 big5-hkscs cn-big5 csbig5 x-x-big5",
    "euc-jp": "cseucpkdfmtjapanese euc-jp x-euc-jp",
    "iso-2022-jp": "csiso2022jp iso-2022-jp",
    "shift_jis": "csshiftjis ms932 ms_kanji shift-jis shift_jis sjis windows-31j x-sjis",
    "euc-kr": "cseuckr csksc56011987 euc-kr iso-ir-149 korean ks_c_5601-1987 ks_c_5601-1989 ksc5601 ksc_5601 "
              "windows-949",
    "utf-16be": "unicodefffe utf-16be",
    "utf-16le": "csunicode iso-10646-ucs-2 ucs-2 unicode unicodefeff utf-16 utf-16le",
}
# What WHATWG decodes is a superset of what Python's codec of that name decodes.
_CODECS = {"gbk": "gb18030", "big5": "big5hkscs", "shift_jis": "cp932", "euc-kr": "cp949", "windows-874": "cp874",
           "macintosh": "mac_roman", "x-mac-cyrillic": "mac_cyrillic"}
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_BE, "utf-16be"), (codecs.BOM_UTF16_LE, "utf-16le"))
# The detector may answer only with encodings of the web: it must not see EBCDIC or Johab in a short page.
_DETECTABLE = ("utf_8", "cp1250", "cp1251", "cp1252", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "iso8859_2",
               "iso8859_5", "iso8859_6", "iso8859_7", "koi8_r", "koi8_u", "cp866", "mac_cyrillic", "cp874", "tis_620",
               "gb2312", "gbk", "gb18030", "big5", "big5hkscs", "euc_jp", "shift_jis", "cp932", "euc_kr", "cp949",
               "iso2022_jp")
_DETECTED = {"cp1250": "windows-1250", "cp1251": "windows-1251", "cp1252": "windows-1252", "cp1253": "windows-1253",
             "cp1254": "windows-1254", "cp1255": "windows-1255", "cp1256": "windows-1256", "cp1257": "windows-1257",
             "cp874": "windows-874", "tis_620": "windows-874", "cp866": "ibm866", "mac_cyrillic": "x-mac-cyrillic",
             "cp932": "shift_jis", "cp949": "euc-kr", "euc_jis_2004": "euc-jp", "big5hkscs": "big5",
             "gb2312": "gbk", "gb18030": "gbk", "iso2022_jp": "iso-2022-jp"}
_JAPANESE = re.compile(rb"\x1b\$(?:[@B]|\(D)")                 # escapes of ISO-2022-JP into its sets of two bytes
_HANGUL, _KANA = re.compile("[\uac00-\ud7a3]"), re.compile("[\u3041-\u30ff]")

_COMMENT = re.compile(rb"<!--.*?-->", re.DOTALL)
_META = re.compile(rb"<meta[\s/]((?:[^>\"']|\"[^\"]*\"|'[^']*')*)", re.IGNORECASE)
_ATTRIBUTE = re.compile(rb"""([^\s/>=]+)(?:\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s>]+)))?""")
_CHARSET_IN_CONTENT = re.compile(rb"""charset\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s;"']+))""", re.IGNORECASE)
_CHARSET_IN_HEADER = re.compile(r"""charset\s*=\s*["']?([^\s;"',]+)""", re.IGNORECASE)


@functools.cache
def _names() -> dict[str, str]:
    return {label: name for name, labels in _LABELS.items() for label in labels.split()}


def encoding_of_label(label: str) -> str | None:
    """Returns the WHATWG encoding name of a label, or None for a label that is not one.

    >>> encoding_of_label(" ISO-8859-1 "), encoding_of_label("klingon")
    ('windows-1252', None)
    """
    return _names().get(label.strip("\t\n\f\r ").lower())


def charset_of_header(content_type: str) -> str | None:
    """Returns the encoding that a Content-Type header declares, or None.

    >>> charset_of_header('text/html; charset="Shift-JIS"')
    'shift_jis'
    """
    found = _CHARSET_IN_HEADER.search(content_type)
    return encoding_of_label(found.group(1)) if found else None


def charset_of_meta(head: bytes) -> str | None:
    """Returns the encoding that a meta element in the first 1,024 bytes declares, or None (WHATWG prescan)."""
    head = _COMMENT.sub(b"", head[:PRESCAN_BYTES])
    for element in _META.finditer(head):
        declared = _declared(element.group(1))
        if declared is not None:
            # A prescan that can read the word utf-16 in ASCII has shown that it is not.
            return "utf-8" if declared.startswith("utf-16") else declared
    return None


def _declared(attributes: bytes) -> str | None:
    found: dict[str, bytes] = {}
    for match in _ATTRIBUTE.finditer(attributes):
        found.setdefault(match.group(1).decode("latin-1").lower(), match.group(2) or match.group(3) or match.group(4)
                         or b"")
    if "charset" in found:
        return encoding_of_label(found["charset"].decode("latin-1"))
    if found.get("http-equiv", b"").lower() == b"content-type":
        content = _CHARSET_IN_CONTENT.search(found.get("content", b""))
        if content is not None:
            return encoding_of_label((content.group(1) or content.group(2) or content.group(3) or b"")
                                     .decode("latin-1"))
    return None


def detect(body: bytes) -> str:
    """Returns the encoding of bytes of which nothing is declared: utf-8 where they are, else the detector's answer.

    The last resort is windows-1252, in which every byte is a character.
    """
    wide = _utf16(body[:_SAMPLE_BYTES])
    if wide:
        return wide
    if body.isascii():
        return "iso-2022-jp" if _JAPANESE.search(body[:_SAMPLE_BYTES]) else "windows-1252"
    if _is_utf8(body):
        return "utf-8"
    sample = _telling_sample(body)
    from charset_normalizer import from_bytes  # only an undeclared page pays for its tables
    best = from_bytes(sample, cp_isolation=list(_DETECTABLE)).best()
    if best is None:
        return _of_two_bytes(sample) or code_page(sample) or "windows-1252"
    name = _DETECTED.get(best.encoding, best.encoding.replace("_", "-"))
    name = encoding_of_label(name.replace("iso8859", "iso-8859")) or "windows-1252"
    # Between code pages of the same alphabet letters tell more than frequencies of bytes.
    return code_page(sample) or "windows-1252" if name in CODE_PAGES else name


def _utf16(sample: bytes) -> str:
    """Returns UTF-16 without its mark, in which every second byte of markup is zero; "" for anything else."""
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    if even + odd <= len(sample) // 4 or min(even, odd) > max(even, odd) // 4:
        return ""
    return "utf-16be" if even > odd else "utf-16le"


def _of_two_bytes(sample: bytes) -> str:
    """Returns in which encoding of Korean or Japanese a sample is letters throughout, "" for none."""
    for name, codec, letters in (("euc-kr", "euc_kr", _HANGUL), ("euc-jp", "euc_jp", _KANA),
                                 ("shift_jis", "cp932", _KANA)):
        try:
            text = sample.decode(codec)
        except UnicodeDecodeError:
            continue
        if 2 * len(letters.findall(text)) > sum(letter > "\x7f" for letter in text):
            return name
    return ""


def load_all() -> None:
    """Loads every codec and the detector now, for a process that may open no file later."""
    for name in _LABELS:
        codecs.lookup(_CODECS.get(name, name))
    for codec in ("cp1252", *_DETECTABLE):
        codecs.lookup(codec)
    detect("Schöne Grüße aus dem Süden, wünscht Jürgen".encode("cp1252"))


def _is_utf8(body: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(body)      # a cut last character is not an error
    except UnicodeDecodeError:
        return False
    return True


def _telling_sample(body: bytes) -> bytes:
    """Returns at most 16 KiB of what lies around non-ASCII bytes, in order."""
    if len(body) <= _SAMPLE_BYTES:
        return body
    # Cut where no character of several bytes can be cut: `<` and a line's end are never the second byte of one.
    pieces, size, end = [], 0, 0
    for match in re.finditer(rb"[\x80-\xff]+", body):
        start, stop = max(end, match.start() - _SAMPLE_MARGIN), min(len(body), match.end() + _SAMPLE_MARGIN)
        if start < stop:
            pieces.append(body[start:stop])
            size, end = size + stop - start, stop
        if size >= _SAMPLE_BYTES:
            break
    sample = b"".join(pieces)[:_SAMPLE_BYTES]
    return sample[:max(sample.rfind(b"<"), sample.rfind(b"\n"))] if len(sample) == _SAMPLE_BYTES else sample


def charset_of(body: bytes, content_type: str) -> str:
    """Returns the WHATWG name of the encoding to decode `body` with."""
    for mark, name in _BOMS:
        if body.startswith(mark):
            return name
    return charset_of_header(content_type) or charset_of_meta(body[:PRESCAN_BYTES]) or detect(body)


def decode(body: bytes, content_type: str) -> tuple[str, str]:
    """Returns the text of a page and the name of the encoding; bytes that are no characters become U+FFFD.

    >>> decode(b'caf\\xe9', "text/html; charset=latin1")
    ('café', 'windows-1252')
    """
    name = charset_of(body, content_type)
    for mark, _ in _BOMS:
        if body.startswith(mark):
            body = body[len(mark):]
            break
    if name == "windows-1252":
        # WHATWG maps the five unused places to control characters, Python's codec refuses them.
        return body.decode("cp1252", errors="replace"), name
    return body.decode(_CODECS.get(name, name), errors="replace"), name
