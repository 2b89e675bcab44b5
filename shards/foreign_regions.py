"""Region features in tars of others: `KEY.npz` or `KEY.npy` beside the image becomes a tar of regions for the trainer.

An npz has UNITER's arrays (shards/precomputed.py): features, norm_bb, conf, soft_labels; an npy features of the whole
picture or of a grid (shards/foreign_arrays.py).  They are read without pickle, bounded in size, checked for shape and
range; what is wrong with one is counted, and its image has no regions.  A set has one kind, that of its first.
"""
from __future__ import annotations

import collections
import dataclasses
import os

from crawl import storage
from crawl.config import digest
from shards.foreign_arrays import parse_npy
from shards.index import members_of
from shards.precomputed import UNITER, parse_npz
from shards.quantise import quantised
from shards.region_config import RegionsConfig
from shards.regions import pack
from shards.sample import regions_name
from shards.writer import Tar

_PARSERS = {"npz": parse_npz, "npy": parse_npy}


@dataclasses.dataclass(slots=True)
class RegionTars:
    """Regions found so far, in the tars of one set."""

    config: RegionsConfig
    kind: str = ""                 # npz or npy, once there was a usable one
    found: int = 0
    signed: bool = False           # a region has negative values, so that features have a zero point
    most: int = 0                  # regions of an image
    unusable: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)

    def write(self, path: str, directory: str, name: str) -> str:
        """Writes the tar `name` of the regions in a tar of others; returns the name, "" where there are none."""
        with Tar(directory) as tar:
            for key, suffix, _, data in members_of(path):
                if suffix not in _PARSERS:
                    continue
                row = _PARSERS[suffix](key, data, self.config)
                if row.found is None or self.kind not in ("", suffix):
                    self.unusable[f"{suffix}: {row.reason if row.found is None else 'another_kind'}"] += 1
                    continue
                self.kind = suffix
                regions = quantised(row.found, self.config.quantise, self.config.max_regions, self.config.soft_classes)
                self.signed |= regions.zero is not None
                self.most = max(self.most, len(regions))
                self.found += 1
                packed = pack(regions)
                tar.write_at(tar.place(regions_name(key), len(packed)), packed)
            if not tar.position:
                return ""
            tar.finish()
            if storage.is_remote(directory):
                storage.upload(tar.path, storage.join(directory, name))
            else:
                os.replace(tar.path, os.path.join(directory, name))
        return name

    def facts(self) -> dict[str, object]:
        """Returns what a manifest says of these regions."""
        config, classes = self.config, self.config.num_classes if self.kind == "npz" else 0
        known = {"format": UNITER if classes else self.kind, "feature_dim": config.feature_dim, "num_classes": classes,
                 "quantise": config.quantise, "max_regions": config.max_regions}
        return {"feature_dim": config.feature_dim, "num_classes": classes, "max_regions": self.most,
                "quantisation": "f16" if config.quantise == "f16" else "u8_scale_zero" if self.signed else "u8_scale",
                "extractor": "precomputed", "extractor_digest": digest(known)}
