import hashlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from shards import patches
from shards.patches import PatchesConfig, boxes_of, cells_of, chosen_cells, extract, fit_codebook, nearest
from shards.regions import pack, unpack

CONFIG = PatchesConfig(grid=2, cell=4, num_classes=3)


def quarters(size=(40, 20)):
    image = Image.new("RGB", size, (255, 0, 0))
    image.paste((0, 255, 0), (size[0] // 2, 0, size[0], size[1] // 2))
    image.paste((0, 0, 255), (0, size[1] // 2, size[0] // 2, size[1]))
    image.paste((9, 9, 9), (size[0] // 2, size[1] // 2, *size))
    return image


def drawn_cells(count=400, seed=3):
    draw = np.random.Generator(np.random.Philox(key=seed))
    centres = np.array([[20] * 48, [120] * 48, [220] * 48])
    return (centres[np.arange(count) % 3] + draw.integers(-9, 10, (count, 48))).astype(np.uint8)


def test_cells_are_the_quarters_in_reading_order_with_their_boxes():
    cells = cells_of(quarters(), CONFIG).reshape(4, 4, 4, 3)
    assert [tuple(cell[1 if n < 2 else 2, 1 if n % 2 == 0 else 2]) for n, cell in enumerate(cells)] == [
        (255, 0, 0), (0, 255, 0), (0, 0, 255), (9, 9, 9)]
    assert boxes_of(CONFIG).tolist() == [[0, 0, .5, .5], [.5, 0, 1, .5], [0, .5, .5, 1], [.5, .5, 1, 1]]


def test_extracted_regions_are_valid_and_carry_the_nearest_class():
    codebook = fit_codebook(drawn_cells(), CONFIG)
    regions = extract(quarters(), codebook, CONFIG)
    back = unpack(pack(regions))
    assert back.feat.shape == (4, CONFIG.feature_dim) and (back.conf == 1).all()
    brute = ((back.feat[:, None].astype(float) - codebook[None]) ** 2).sum(axis=2).argmin(axis=1)
    assert (back.cls == brute).all()
    assert np.allclose(back.features(), back.feat / 255, atol=1e-3)


def test_kmeans_finds_the_clusters_and_does_not_depend_on_thread_count():
    cells = drawn_cells()
    codebook = fit_codebook(cells, CONFIG)
    assert sorted(codebook.mean(axis=1).round().tolist()) == [20, 120, 220]
    assert (nearest(cells, codebook).reshape(-1)[:300:3] == nearest(cells, codebook)[0]).all()
    digest = hashlib.sha256(patches.pack_codebook(codebook)).hexdigest()
    code = ("import hashlib; from tests.shards.test_patches import *; "
            "print(hashlib.sha256(patches.pack_codebook(fit_codebook(drawn_cells(), CONFIG))).hexdigest())")
    for threads in ("1", "2"):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                              env={"OPENBLAS_NUM_THREADS": threads, "PYTHONPATH": ".", "PYTHONHASHSEED": threads})
        assert done.stdout.strip() == digest


def test_centroids_lie_on_the_grid_so_that_sums_are_exact():
    codebook = fit_codebook(drawn_cells(), CONFIG).astype(float)
    assert (codebook * 64 == np.round(codebook * 64)).all()


@pytest.mark.parametrize("cells", [np.zeros((0, 48), np.uint8), np.full((5, 48), 7, np.uint8)])
def test_fewer_cells_than_classes_still_give_a_codebook(cells):
    codebook = fit_codebook(cells, CONFIG)
    assert codebook.shape == (3, 48) and np.isfinite(codebook).all()


def test_cells_of_the_codebook_are_chosen_by_hash():
    config = PatchesConfig(codebook_cells=5)
    assert len(set(chosen_cells("a", config))) == 5 and chosen_cells("a", config) != chosen_cells("b", config)


@pytest.mark.parametrize("change", [{"grid": 0}, {"grid": 11}, {"num_classes": 1}, {"cell": 1000}])
def test_impossible_settings_are_refused(change):
    with pytest.raises(ValueError, match="choose"):
        PatchesConfig(**change)
