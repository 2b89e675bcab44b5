"""What the model eats: sequences of regions and word pieces laid end to end, without padding between them.

One sequence (paper, section 2.3; either half may be absent):

    tokens   : [CLS]  r0 r1 ... rn  [SEP]  w0 w1 ... wm  [SEP]
    segment  :   A    A  A  ... A     A    B  B  ... B     B
    position :   0    1  1  ... 1     2    3  4  ...      m+4

An image-only sequence stops after the first [SEP]; a text-only one is [CLS] w0 ... wm [SEP] with the same positions.
Beyond the paper, where a model asks for it, an image's half has more: a token for the whole image before r0 (segment A,
position 1), and after its [SEP] the names of its regions, t0 ... tk [SEP] (segment A, positions 3 ... k+4).

Letters, here and everywhere in model/ and train/:

    T  tokens of all sequences       S  sequences            D  model width
    W  word tokens: [CLS], [SEP] and word pieces             V  vocabulary
    R  regions in sequences          U  distinct regions     F  values of a region's feature
    M  masked word pieces            N  masked regions       C  region classes
    K  pairs of the contrastive loss

A pack has fixed capacities for all of them, so its shapes never change; what is not used carries weight 0 (or is never
pointed at).  `cropped()` cuts the unused rest off where shapes may change (CPU).
"""
from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

REGION_POSITION = 1      # all regions share one dummy position (section 2.3)
IMAGE_SEPARATOR_POSITION = 2
FIRST_WORD_POSITION = 3
SEGMENT_IMAGE, SEGMENT_TEXT = 0, 1


@dataclasses.dataclass(frozen=True, slots=True)
class Pack:
    """One batch for one forward."""

    # the token stream: token t is row `token_source[t]` of cat([word embeddings W, region embeddings R, and where
    #   images have a token for all of them, those of the S sequences])
    token_source: Tensor           # [T] i64
    cu_seqlens: Tensor             # [S+X+1] i32, starts of sequences; X more sequences tile the unused tokens, so that
                                   #   every token lies in one (X = ceil(T / max_tokens); 0 once cropped)
    first_tokens: Tensor           # [S] i64, where the [CLS] of a sequence stands in the stream

    # words
    word_ids: Tensor               # [W] i64, after masking
    word_positions: Tensor         # [W] i64
    word_segments: Tensor          # [W] i64

    # regions: distinct ones once, however many sequences show them
    features: Tensor               # [U, F] u8 or f16, never masked: value = (stored - zero) * scale
    scale: Tensor                  # [U] f32
    zero: Tensor                   # [U] f32
    geometry: Tensor               # [U, 5] f32: x1, y1, x2, y2, area, all in [0, 1] (section 2.5)
    classes: Tensor                # [U] i64 in [0, C)
    soft_ids: Tensor               # [U, 8] i64: the most likely classes; [U, 0] where no loss asks for them
    soft_p: Tensor                 # [U, 8] f32: their probabilities, 0 where they are not known
    region_rows: Tensor            # [R] i64 in [0, U)
    region_visible: Tensor         # [R] f32, 0 where the feature is hidden from the model (section 3.2: zeroed)
    region_sequences: Tensor       # [R] i64, of the token for the whole image; [0] where sequences have none

    # what the masked losses predict: of matched pairs alone (section 3.5), unless a run asks for all
    masked_word_tokens: Tensor     # [M] i64, place in the stream
    masked_word_targets: Tensor    # [M] i64, the id that stood there
    masked_word_weights: Tensor    # [M] f32, 1 or 0 (unused)
    masked_region_tokens: Tensor   # [N] i64
    masked_region_rows: Tensor     # [N] i64 in [0, U): targets are read from the unmasked features and classes
    masked_region_weights: Tensor  # [N] f32

    # labels of sequences
    matched: Tensor                # [S] f32, 1 where caption and image belong together
    itm_weights: Tensor            # [S] f32, 1 where the sequence has both halves and a label

    # contrastive pairs: sequence numbers of the image-only and the text-only sequence of the same sample
    contrast_images: Tensor        # [K] i64
    contrast_texts: Tensor         # [K] i64
    contrast_weights: Tensor       # [K] f32
    contrast_ids: Tensor           # [K, 3] i64: image, perceptual group and caption hash; equal ones are no negatives

    # known on the host
    tokens: int                    # used of T
    sequences: int                 # used of S
    words: int                     # used of W
    regions: int                   # used of R
    distinct: int                  # used of U
    masked_words: int              # used of M
    masked_regions: int            # used of N
    contrasts: int                 # used of K
    longest: int                   # tokens of the longest sequence, or the constant cap of the packs

    def to(self, device: torch.device) -> Pack:
        """Returns the pack on another device; pinned memory is copied without waiting."""
        moved = {field.name: getattr(self, field.name).to(device, non_blocking=True)
                 for field in dataclasses.fields(self) if isinstance(getattr(self, field.name), Tensor)}
        return dataclasses.replace(self, **moved)

    def fixed(self) -> Pack:
        """Returns the same pack with nothing on the host that differs between packs: what a compiled forward takes."""
        return dataclasses.replace(self, tokens=0, sequences=0, words=0, regions=0, distinct=0, masked_words=0,
                                   masked_regions=0, contrasts=0)

    def cropped(self) -> Pack:
        """Returns views without the unused rest of every capacity: the same losses for less work."""
        sizes = {"token_source": self.tokens, "cu_seqlens": self.sequences + 1, "contrast_ids": self.contrasts}
        for names, size in _GROUPS.items():
            sizes |= dict.fromkeys(names.split(), getattr(self, size))
        cut = {name: getattr(self, name)[:size] for name, size in sizes.items()}
        # Region embeddings now follow fewer word embeddings, and those of whole images fewer of both.
        source, words, regions = cut["token_source"], len(self.word_ids), len(self.region_rows)
        cut["token_source"] = (source - (words - self.words) * (source >= words)
                               - (regions - self.regions) * (source >= words + regions))
        lengths = cut["cu_seqlens"].diff()
        return dataclasses.replace(self, longest=int(lengths.max()) if self.sequences else 0, **cut)


_GROUPS = {
    "first_tokens matched itm_weights": "sequences",
    "word_ids word_positions word_segments": "words",
    "features scale zero geometry classes soft_ids soft_p": "distinct",
    "region_rows region_visible region_sequences": "regions",
    "masked_word_tokens masked_word_targets masked_word_weights": "masked_words",
    "masked_region_tokens masked_region_rows masked_region_weights": "masked_regions",
    "contrast_images contrast_texts contrast_weights": "contrasts",
}
