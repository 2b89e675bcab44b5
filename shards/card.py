"""The dataset card (Markdown) and its Croissant description (JSON-LD), written from the manifest and the indexes.

Croissant: http://mlcommons.org/croissant/1.0; file names are relative to the shards folder.
"""
from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

from crawl import storage
from shards.inspect import stats
from shards.manifest import MANIFEST, ShardSet
from shards.sample import SAMPLE_FIELDS
from shards.visible import visible

_FORMATS = {".tar": "application/x-tar", ".parquet": "application/x-parquet", ".txt": "text/plain"}
_IMAGES = {"jpg": "image/jpeg", "png": "image/png", "webp": "image/webp"}
_HOLDS = {"captions": "KEY.txt: the caption.",
          "provenance": f"KEY.json: {', '.join(SAMPLE_FIELDS)}."}
_KEY = r"([0-9a-f]{32})\.[a-z]+$"
_CONTEXT = {
    "@language": "en", "@vocab": "https://schema.org/", "citeAs": "cr:citeAs", "column": "cr:column",
    "conformsTo": "dct:conformsTo", "cr": "http://mlcommons.org/croissant/", "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"}, "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/", "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"}, "extract": "cr:extract",
    "field": "cr:field", "fileProperty": "cr:fileProperty", "fileObject": "cr:fileObject", "fileSet": "cr:fileSet",
    "format": "cr:format", "includes": "cr:includes", "isLiveDataset": "cr:isLiveDataset", "jsonPath": "cr:jsonPath",
    "key": "cr:key", "md5": "cr:md5", "parentField": "cr:parentField", "path": "cr:path", "recordSet": "cr:recordSet",
    "references": "cr:references", "regex": "cr:regex", "repeated": "cr:repeated", "replace": "cr:replace",
    "samplingRate": "cr:samplingRate", "sc": "https://schema.org/",
    "separator": "cr:separator", "source": "cr:source", "subField": "cr:subField",
    "transform": "cr:transform"}


def read_value(shards: ShardSet) -> dict[str, Any]:
    """Returns the manifest as plain JSON; `load_shards` has found it whole."""
    value: dict[str, Any] = json.loads(storage.read_bytes(shards.path(MANIFEST)))
    return value


def croissant(shards: ShardSet, name: str, licence: str = "", url: str = "") -> dict[str, Any]:
    """Returns the JSON-LD of a set: every tar and table with its sha256, records of samples and of their images."""
    listed = {entry["name"]: entry for entry in read_value(shards)["tables"]["shards"]}
    tars = [{"@id": shard.name} for shard in shards.shards]
    sets = [_file_set(f"{ext}-images", _IMAGES[ext], f"*.{ext}", [{"@id": shard.name} for shard in shards.shards
                                                                  if shard.ext == ext])
            for ext in sorted({shard.ext for shard in shards.shards} & _IMAGES.keys())]
    if tars:
        sets += [_file_set("captions", "text/plain", "*.txt", tars),
                 _file_set("provenance", "application/json", "*.json", tars)]
    records = [_records(one["name"]) for one in sets]
    value = {
        "@context": _CONTEXT, "@type": "sc:Dataset", "conformsTo": "http://mlcommons.org/croissant/1.0", "name": name,
        "description": _summary(shards), "version": "1.0.0",
        "distribution": [*(_file_object(entry) for entry in listed.values()
                           if "." + entry["name"].rpartition(".")[2] in _FORMATS),
                         *sets],
        "recordSet": records}
    return value | ({"license": licence} if licence else {}) | ({"url": url} if url else {})


def _file_object(entry: dict[str, Any]) -> dict[str, Any]:
    name = entry["name"]
    return {"@type": "cr:FileObject", "@id": name, "name": name, "contentUrl": name,
            "contentSize": f"{entry['bytes']} B", "encodingFormat": _FORMATS["." + name.rpartition(".")[2]],
            "sha256": entry["sha256"]}


def _file_set(name: str, kind: str, pattern: str, tars: list[dict[str, str]]) -> dict[str, Any]:
    return {"@type": "cr:FileSet", "@id": name, "name": name, "containedIn": tars, "encodingFormat": kind,
            "includes": pattern}


def _records(file_set: str) -> dict[str, Any]:
    """Returns a record a file: the sample's key from its name, and what it holds.  KEY joins images and texts."""
    def field(name: str, kind: str, what: str) -> dict[str, Any]:
        return {"@type": "cr:Field", "@id": f"{file_set}-records/{name}", "name": name, "dataType": kind,
                "source": {"fileSet": {"@id": file_set}, "extract": {"fileProperty": what}}}

    key = field("key", "sc:Text", "filename")
    key["source"]["transform"] = {"regex": _KEY}
    kind = "sc:ImageObject" if file_set.endswith("-images") else "sc:Text"
    return {"@type": "cr:RecordSet", "@id": f"{file_set}-records", "name": f"{file_set}-records",
            "description": _HOLDS.get(file_set, "KEY.jpg, .png, .webp: the image as it was fetched."),
            "key": {"@id": f"{file_set}-records/key"}, "field": [key, field("content", kind, "content")]}


def _summary(shards: ShardSet) -> str:
    return (f"{shards.samples('train'):,} training and {shards.samples('test'):,} test pairs of an image and the text "
            f"that stood beside it on the web, as WebDataset tars, with the provenance of every pair.")


def card(shards: ShardSet, name: str, licence: str = "", sites: int = 10) -> str:
    """Returns the dataset card as Markdown with the front matter of the Hugging Face Hub; no clock, no host name."""
    value, found = read_value(shards), stats(shards)
    extra, everything = value["extra"], found["all"]
    return "\n".join([
        "---", f"pretty_name: {json.dumps(name, ensure_ascii=False)}", "task_categories:", "- image-to-text",
        "- text-to-image", "size_categories:", f"- {_size(everything['samples'])}",
        *([f"license_link: {json.dumps(licence)}"] if licence else []), *_configs(shards), "---", "", f"# {name}", "",
        _summary(shards), "", "## What is in it", "",
        *_table(("", *found["splits"], "all"), _figures(found)), "",
        f"Regions: {shards.extractor}, at most {shards.max_regions} an image, {shards.feature_dim} values, "
        f"{shards.num_classes} classes, stored as {shards.quantisation}.", "",
        *([f"{found['removed']:,} samples are still in the tars and were removed: `removed.json` lists their keys. "
           f"Leave them out.", ""] if found["removed"] else []),
        f"The sites with the most samples, of {len(found['sites']):,}:", "",
        *_table(("site", "samples"), [(_cell(site), f"{count:,}")
                                      for site, count in list(found["sites"].items())[:sites]]), "",
        "## Reading", "", "```python", "import glob", "import webdataset", "",
        'tars = sorted(path for path in glob.glob("train/*.tar") if not path.endswith(".regions.tar"))',
        'for sample in webdataset.WebDataset(tars, shardshuffle=False).decode("pil"):',
        '    print(sample["__key__"], sample["txt"], sample["json"]["page_url"])', "```", "",
        "With `datasets`, one configuration an image format, as a format is a column: "
        '`load_dataset("FOLDER OF THIS CARD", "' + shards.shards[0].ext + '")`.' if shards.shards else "", "",
        f"Fields of `KEY.json`: {', '.join(f'`{field}`' for field in SAMPLE_FIELDS)}.", "",
        "## How it was made", "", "Every row that came into a stage has one outcome:", "",
        *_table(("stage", "unit", "in", "outcomes"), _funnel(value["funnel"])), "",
        *([*(f"- {_cell(note)}" for note in value["notes"]), ""] if value["notes"] else []),
        "## Rights and removal", "",
        (f"Licence of the collection: {licence}. " if licence else "")
        + "Images and texts belong to those who made them; `page_url` and `image_url` name the source, `permission` "
          "and `signals` what the site said about use by machines, as it said it. Personal data may be in them.", "",
        "To take something out: `imagebert shards remove PATH --url URL` (or `--domain`, `--key`, `--sha256`, "
        "`--phash`), with `--rewrite` to drop the bytes.", "",
        "## To repeat it", "", f"- manifest: sha256 `{shards.digest}`",
        *(f"- input {source}: `{digest}`" for source, digest in sorted(value["inputs"].items())),
        *(f"- rewritten from `{line['manifest']}`, {line['removed']:,} samples removed"
          for line in extra.get("lineage", [])),
        f"- settings: `{json.dumps(value['config'], sort_keys=True)}`",
        f"- versions: {', '.join(map(' '.join, sorted(extra.get('versions', {}).items())))}",
        ""])


def _configs(shards: ShardSet) -> Iterator[str]:
    """Yields the front matter by which `datasets` finds the tars: an image format each, never the regions tars."""
    if shards.shards:
        yield "configs:"
    for ext in sorted({shard.ext for shard in shards.shards}):
        yield f"- config_name: {ext}"
        yield "  data_files:"
        for split in sorted({shard.split for shard in shards.shards if shard.ext == ext}):
            yield f"  - split: {split}"
            yield "    path:"
            yield from (f"    - {json.dumps(shard.name)}" for shard in shards.of_split(split) if shard.ext == ext)


def _figures(found: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    columns = [*found["splits"].values(), found["all"]]
    for name in ("samples", "shards", "image_bytes", "region_bytes", "distinct_captions"):
        yield name.replace("_", " "), *(f"{column[name]:,}" for column in columns)
    for name in ("word_pieces", "regions_an_image", "bytes_an_image"):
        yield (f"{name.replace('_', ' ')}, median", *(f"{column[name].get('median', 0):,}" for column in columns))


def _funnel(lines: list[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    for line in lines:
        ordered = sorted(line["outcomes"], key=lambda pair: (-pair[1], pair[0]))
        yield line["stage"], line["unit"], f"{line['rows_in']:,}", ", ".join(f"{name} {n:,}" for name, n in ordered)


def _table(names: tuple[str, ...], rows: Any) -> Iterator[str]:
    yield f"| {' | '.join(names)} |"
    yield f"|{'|'.join(['---'] * len(names))}|"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _cell(text: str) -> str:
    """Returns text of the web for a cell or a line: it neither ends the cell nor becomes a link or an element."""
    return "".join(f"\\{letter}" if letter in "\\|`*_[]<>#" else letter for letter in visible(text))


def _size(samples: int) -> str:
    """Returns the size category of the Hugging Face Hub.

    >>> _size(4510), _size(0), _size(10_000_000)
    ('1K<n<10K', 'n<1K', '10M<n<100M')
    """
    names = ("1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T")
    if samples < 1000:
        return "n<1K"
    place = min(int(math.log10(samples) + 1e-9) - 3, len(names) - 2)
    return f"{names[place]}<n<{names[place + 1]}"
