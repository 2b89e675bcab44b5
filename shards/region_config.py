"""Which extractor cuts images into regions, and how: one config for all of them, remembered by the root.

    OUT/regions.json        what `imagebert regions` was last told; `shards build` keeps to it
"""
from __future__ import annotations

import dataclasses
import json

from crawl import storage
from crawl.config import as_dict
from crawl.errors import UsageError
from shards.quantise import FORMS

PATCHES, PRECOMPUTED = "patches", "precomputed"
DETECTORS = ("bottom-up", "fasterrcnn", "clip")        # their weights are given by path
EXTRACTORS = (PATCHES, PRECOMPUTED, *DETECTORS)
REMEMBERED = "regions.json"


@dataclasses.dataclass(frozen=True)
class RegionsConfig:
    """How regions are extracted; `patches` has settings of its own (shards/patches.py)."""

    extractor: str = ""                # one of EXTRACTORS; "" as the root remembers, else patches
    max_regions: int = 100             # the most confident ones of an image (paper, section 2.6)
    quantise: str = "u8"               # or f16, which the trainer does not take
    soft_classes: bool = True          # keep the 8 most likely classes where the source has probabilities
    class_names: str = ""              # file of names, a line a class; a line may go on with `,synonym`
    # precomputed
    files: tuple[str, ...] = ()        # TSV files, or folders of npz files
    format: str = ""                   # shards/precomputed.py: FORMATS
    fields: tuple[str, ...] = ()       # columns of a TSV whose order is another; unknown names are skipped
    match: str = "key"                 # what the ids in the files are: key, url, name, extras.COLUMN
    feature_dim: int = 2048
    num_classes: int = 1600
    background: str = "first"          # where soft labels with one column more than classes have it: first, last
    # with weights
    weights: str = ""                  # path or s3://, gs:// of the published checkpoint
    architecture: str = ""             # of clip: the name open_clip knows it by
    min_confidence: float = 0.2        # below it only as many as min_regions are kept
    min_regions: int = 10
    min_side: int = 0                  # px the shorter side is resized to; 0: as the detector was published
    max_side: int = 0                  # px the longer side may have then
    grid: int = 3                      # of clip: boxes are the picture, its 2 x 2, ... grid x grid parts
    batch: int = 8                     # pictures of one size that go through the model together
    accelerator: str = ""              # Beam's hint for the step with the network, as type:nvidia-tesla-t4;count:1

    def __post_init__(self) -> None:
        if self.extractor not in ("", *EXTRACTORS):
            raise ValueError(f"extractor {self.extractor!r} is not known; there are {', '.join(EXTRACTORS)}")
        if self.quantise not in FORMS:
            raise ValueError(f"quantise is {self.quantise!r}; choose {' or '.join(FORMS)}")
        if self.background not in ("first", "last"):
            raise ValueError(f"background is {self.background!r}; choose first or last")
        if self.match not in ("key", "url", "name") and not self.match.partition("extras.")[2]:
            raise ValueError(f"match is {self.match!r}; choose key, url, name or extras.COLUMN")
        limits = {"max_regions": (1, 1000), "feature_dim": (1, 65536), "num_classes": (1, 32767),
                  "min_regions": (0, 1000), "min_side": (0, 4096), "max_side": (0, 8192), "grid": (1, 10),
                  "batch": (1, 256)}
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} is {getattr(self, name)}; choose {low} to {high}")
        if not 0 <= self.min_confidence <= 1:
            raise ValueError(f"min_confidence is {self.min_confidence}; choose 0 to 1")
        if self.min_regions > self.max_regions:
            raise ValueError(f"min_regions is {self.min_regions}, above max_regions {self.max_regions}")


def chosen(out: str, config: RegionsConfig) -> RegionsConfig:
    """Returns the config to extract with: as it is where it names an extractor, else the root's, else patches."""
    if config.extractor:
        return config
    path = storage.join(out, REMEMBERED)
    if not storage.exists(path):
        return dataclasses.replace(config, extractor=PATCHES)
    try:
        value = json.loads(storage.read_bytes(path))
        return RegionsConfig(**value | {name: tuple(value[name]) for name in ("files", "fields")})
    except (ValueError, TypeError, KeyError) as error:
        raise UsageError(f"{path}: not what `imagebert regions` wrote ({error}); remove it and run `imagebert regions "
                         f"--extractor ...` again") from error


def remember(out: str, config: RegionsConfig) -> None:
    """Makes later builds of the root use this extractor."""
    text = json.dumps(as_dict(config), indent=1, sort_keys=True) + "\n"
    storage.replace_bytes(storage.join(out, REMEMBERED), text.encode())


def read_class_names(path: str, num_classes: int) -> tuple[str, ...]:
    """Returns the first name of each line of a vocabulary file; raises UsageError for a file of another length."""
    try:
        text = storage.read_bytes(path).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"class names {path}: cannot be read ({error}); name a UTF-8 file, a class a line") from error
    names = tuple(line.partition(",")[0].strip() for line in text.splitlines())
    if len(names) != num_classes:
        raise UsageError(f"class names {path}: {len(names)} lines for {num_classes} classes; name the vocabulary the "
                         f"regions were labelled with")
    return names
