"""A later build without some pictures extracts nothing again, and makes the shards that it would make from nothing."""
import os
import shutil

import pytest

from crawl.stages import current_manifest
from crawl.suppress import NOTHING
from crawl.tables import read_table
from filter.records import Best
from shards.addresses import plan_reads
from shards.build import ShardsConfig, build_shards
from shards.manifest import load_shards
from shards.order import OrderConfig, order_of
from shards.patches import PatchesConfig
from shards.records import RegionAddress
from shards.regions_run import cell_source
from shards.shards_run import placed_rows
from tests.shards.kept import BeamRun, finish_filter, kept

CONFIG = ShardsConfig(patches=PatchesConfig(num_classes=8, codebook_images=4), order=OrderConfig(max_samples=12))
COUNT = 30


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    out = str(tmp_path_factory.mktemp("built"))
    rows = kept(out, COUNT)
    build_shards(out, CONFIG, BeamRun())
    return out, rows


def drawn(rows):
    """Returns the keys of the images that the codebook is fitted on."""
    sources = [source for row in rows if (source := cell_source(row, CONFIG.patches)) is not None]
    return {one.key for one in sorted(sources, key=lambda one: (one.order, one.key))[:CONFIG.patches.codebook_images]}


def again_without(built, tmp_path, gone):
    """Builds what is left of a root, and the same in a root without a past; returns the regions stage of the first."""
    (old, rows), out, fresh = built, str(tmp_path / "out"), str(tmp_path / "fresh")
    shutil.copytree(old, out)
    left = [row for row in rows if row.key != gone]
    shutil.copytree(os.path.join(old, "images"), os.path.join(fresh, "images"))
    for root in (out, fresh):
        finish_filter(root, left, inputs={"suppress": gone})
        build_shards(root, CONFIG, BeamRun())
    assert [(shard.name, shard.sha256) for shard in load_shards(out).shards] == [
        (shard.name, shard.sha256) for shard in load_shards(fresh).shards]
    here, there = ({entry.name: entry.sha256 for entry in current_manifest(root, "shards").tables["shards"]}
                   for root in (out, fresh))
    assert here == there
    return current_manifest(out, "regions")


def test_a_picture_less_and_nothing_is_extracted_again(built, tmp_path):
    _, rows = built
    gone = next(row.key for row in rows if row.key not in drawn(rows))
    before = current_manifest(built[0], "regions")
    regions = again_without(built, tmp_path, gone)
    assert regions.folder != before.folder and {entry.bytes for entry in regions.tables["parts"]} == {0}
    assert {row.part.split("/")[1] for path in regions.paths("regions") for row in read_table(path, RegionAddress)} == {
        before.folder.split("/")[1]}


def test_with_another_codebook_all_of_it_is_extracted_again(built, tmp_path):
    _, rows = built
    regions = again_without(built, tmp_path, min(drawn(rows)))
    assert all(entry.bytes for entry in regions.tables["parts"])
    assert {row.part.split("/")[1] for path in regions.paths("regions") for row in read_table(path, RegionAddress)} == {
        regions.folder.split("/")[1]}


def test_the_regions_of_a_shard_lie_in_one_piece_of_each_part(built):
    out, rows = built
    best, regions = (current_manifest(out, name).paths(table) for name, table in (("filter", "best"), ("regions",
                                                                                                     "regions")))
    placed = sorted((one for pair in zip(best, regions, strict=True)
                     for one in placed_rows(*pair, Best, CONFIG.order, NOTHING)), key=lambda one: one.order)
    assert [one.order for one in placed] == sorted(order_of(row.key, CONFIG.order) for row in rows)
    for start in (0, 10, 20):
        chosen = [one.regions_address for one in placed[start:start + 10]]
        spans = plan_reads(chosen, gap=0)
        assert len(spans) == len({one.part for one in chosen}) <= len(best)
