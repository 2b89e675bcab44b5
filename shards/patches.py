"""The `patches` extractor: regions without any weights.

The image becomes a square of grid x grid cells; a region is a cell, its feature the cell's pixels, its class the
nearest centroid of a k-means codebook fitted on the data.  All arithmetic is exact (u8 pixels, centroids on a grid of
1/64, sums below 2**53 in float64), so neither the order of a sum nor the number of threads can change a bit.
"""
from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
from PIL import Image
from safetensors.numpy import load, save

from filter.decode import Decoded, decode
from shards.regions import Regions

NAME = "patches"
QUANTISATION = "u8_scale"          # feature = feat * scale
_CENTROID_GRID = 64


@dataclasses.dataclass(frozen=True)
class PatchesConfig:
    """How an image is cut into cells, and how many classes the cells have."""

    grid: int = 4                  # cells a side: grid * grid regions
    cell: int = 8                  # px a side of a cell: 3 * cell * cell feature values
    num_classes: int = 64          # centroids of the codebook
    codebook_images: int = 2048    # training images it is fitted on, the first by hash
    codebook_cells: int = 8        # cells of each, the first by hash
    iterations: int = 30           # of Lloyd's algorithm, at most
    seed: int = 1

    def __post_init__(self) -> None:
        limits = {"grid": (1, 10), "cell": (2, 64), "num_classes": (2, 32767), "codebook_images": (1, 1 << 20),
                  "codebook_cells": (1, 100), "iterations": (1, 1000)}
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"patches.{name} is {getattr(self, name)}; choose {low} to {high}")

    @property
    def num_regions(self) -> int:
        """Returns how many regions every image has."""
        return self.grid * self.grid

    @property
    def decode_side(self) -> int:
        """Returns the smallest side a JPEG may be decoded to: twice what the cells need."""
        return 2 * self.grid * self.cell

    @property
    def feature_dim(self) -> int:
        """Returns D."""
        return 3 * self.cell * self.cell


def decode_for(data: bytes, config: PatchesConfig) -> Decoded:
    """Returns an image as every user of this extractor decodes it: other pixels would be other features."""
    return decode(data, small=config.decode_side)


def cells_of(image: Image.Image, config: PatchesConfig) -> np.ndarray:
    """Returns the cells of an upright RGB image as u8 (grid * grid, 3 * cell * cell), row by row."""
    side, grid, cell = config.grid * config.cell, config.grid, config.cell
    square = np.asarray(image.resize((side, side), Image.Resampling.BILINEAR))
    return (square.reshape(grid, cell, grid, cell, 3).transpose(0, 2, 1, 3, 4)
            .reshape(grid * grid, config.feature_dim))


def boxes_of(config: PatchesConfig) -> np.ndarray:
    """Returns the boxes of the cells as f16 (grid * grid, 4), xyxy in [0, 1]."""
    edges = np.arange(config.grid + 1) / config.grid
    rows, columns = np.divmod(np.arange(config.num_regions), config.grid)
    return np.stack([edges[columns], edges[rows], edges[columns + 1], edges[rows + 1]], axis=1).astype(np.float16)


def extract(image: Image.Image, codebook: np.ndarray, config: PatchesConfig) -> Regions:
    """Returns the regions of an upright RGB image."""
    return regions_of(cells_of(image, config), codebook, config)


def regions_of(cells: np.ndarray, codebook: np.ndarray, config: PatchesConfig) -> Regions:
    """Returns the regions that cells make; all as confident as can be, in reading order."""
    return Regions(feat=cells, box=boxes_of(config), cls=nearest(cells, codebook).astype(np.int16),
                   conf=np.ones(len(cells), np.float16), scale=np.full(len(cells), 1 / 255, np.float16))


def chosen_cells(key: str, config: PatchesConfig) -> list[int]:
    """Returns which cells of a training image the codebook sees: the first by hash."""
    order = sorted(range(config.num_regions),
                   key=lambda cell: hashlib.sha256(f"{config.seed}:{key}:{cell}".encode()).digest())
    return order[:config.codebook_cells]


def fit_codebook(cells: np.ndarray, config: PatchesConfig) -> np.ndarray:
    """Returns k-means centroids of u8 cells (n, D) as f32 (num_classes, D), on a grid of 1/64.

    k-means++ seeding by a counter-based generator, then Lloyd's algorithm until nothing moves.  Without cells all
    centroids are zero.
    """
    points = cells.astype(np.float64)
    if not len(points):
        return np.zeros((config.num_classes, config.feature_dim), np.float32)
    centroids = _seeds(points, config)
    labels = _labels(points, centroids)
    for _ in range(config.iterations):
        sums = np.zeros_like(centroids)
        np.add.at(sums, labels, points)
        counts = np.bincount(labels, minlength=len(centroids))
        full = counts > 0              # an empty class stays where it was
        centroids[full] = np.round(sums[full] / counts[full, None] * _CENTROID_GRID) / _CENTROID_GRID
        moved = _labels(points, centroids)
        if (moved == labels).all():
            break
        labels = moved
    return centroids.astype(np.float32)


def nearest(cells: np.ndarray, codebook: np.ndarray) -> np.ndarray:
    """Returns the class of each cell; of equally near centroids the first."""
    return _labels(cells.astype(np.float64), codebook.astype(np.float64))


def pack_codebook(codebook: np.ndarray) -> bytes:
    """Returns the safetensors bytes of a codebook."""
    return save({"centroids": np.ascontiguousarray(codebook, dtype=np.float32)})


def unpack_codebook(data: bytes) -> np.ndarray:
    """Returns the centroids, f32 (num_classes, D)."""
    return load(data)["centroids"]


def _seeds(points: np.ndarray, config: PatchesConfig) -> np.ndarray:
    generator = np.random.Generator(np.random.Philox(key=config.seed))
    chosen = [int(generator.random() * len(points))]
    distances = ((points - points[chosen[0]]) ** 2).sum(axis=1)
    for _ in range(1, config.num_classes):
        reach = np.cumsum(distances)
        # Fewer distinct cells than classes: the last cell again, a class that is never nearest.
        place = int(np.searchsorted(reach, generator.random() * reach[-1], side="right"))
        chosen.append(min(place, len(points) - 1))
        distances = np.minimum(distances, ((points - points[chosen[-1]]) ** 2).sum(axis=1))
    return points[chosen]


def _labels(points: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    # The cell's own square is the same for all centroids.
    return ((centroids ** 2).sum(axis=1) - 2 * (points @ centroids.T)).argmin(axis=1)
