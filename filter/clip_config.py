"""Settings of what an open_clip network says of pictures and texts."""
from __future__ import annotations

import dataclasses

UNSAFE_OFF = ("unsafe filter: off, for there are no weights (--set clip.weights=CHECKPOINT --set "
              "clip.unsafe_head=HEAD); pornographic and racy images are not rejected")
UNSAFE_NO_HEAD = ("unsafe filter: off, for clip.weights are named but no head over its embeddings (--set "
                  "clip.unsafe_head=HEAD); pornographic and racy images are not rejected")


@dataclasses.dataclass(frozen=True, slots=True)
class ClipConfig:
    """Each is a `--set clip.NAME=VALUE` of the filter stage; without `weights` no network runs."""

    weights: str = ""                  # path, s3:// or gs:// of a checkpoint of open_clip; nothing is downloaded
    architecture: str = "ViT-B-32"     # what open_clip calls it; OpenAI's weights are ViT-B-32-quickgelu
    unsafe_head: str = ""              # published head over its embeddings: P(unsafe) (model/clip_heads.py)
    batch: int = 32                    # pictures, and texts, that go through the network together
    buckets: int = 16                  # files of its tables, and the units that a stopped run goes on from

    def __post_init__(self) -> None:
        for name, most in (("batch", 4096), ("buckets", 100_000)):
            if not 1 <= getattr(self, name) <= most:
                raise ValueError(f"{name} is {getattr(self, name)}; choose 1 to {most}")
