"""How samples are stored: images byte for byte or as smaller JPEGs, regions beside or among them.

Options of `imagebert dataset` and `shards build`.
"""
from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from crawl.errors import UsageError
from shards.build import ShardsConfig
from shards.reencode import MODES, QUALITY


def add_image_options(parser: argparse.ArgumentParser) -> None:
    """Adds --image-size, --resize and --quality; `stored_as` reads them."""
    group = parser.add_argument_group("smaller images", "Without these options images are stored byte for byte.")
    group.add_argument("--image-size", type=int, metavar="PX",
                       help="store images whose side is longer than this as JPEGs of this size; others as they are")
    group.add_argument("--resize", choices=MODES,
                       help="which side is PX: the shorter (keep_ratio, the default), the longer (keep_ratio_largest), "
                            "both after the middle is cut out (center_crop) or a white border added (border); no: "
                            "every image at its own size as JPEG")
    group.add_argument("--quality", type=int, metavar="Q", help=f"of the JPEGs, 1 to 100 (default: {QUALITY})")


def stored_as(args: argparse.Namespace, config: ShardsConfig) -> ShardsConfig:
    """Returns the config with what the options say; raises UsageError where they make no sense."""
    given: dict[str, Any] = {name: value for name in ("image_size", "resize", "quality")
                             if (value := getattr(args, name)) is not None}
    if given.get("image_size") == 0:
        raise UsageError("--image-size 0: give 1 px or more, or leave it out to store images byte for byte")
    try:
        return dataclasses.replace(
            config, reencode=dataclasses.replace(config.reencode, **given),
            order=dataclasses.replace(config.order, inline_regions=args.inline_regions or config.order.inline_regions))
    except ValueError as error:
        raise UsageError(str(error)) from error
