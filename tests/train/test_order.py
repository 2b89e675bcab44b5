import numpy as np
import pytest

from crawl.errors import UsageError
from train.order import Lane, LaneState, PackLimits, SampleSizes, deal, pieces_of

COUNTS = (10, 7, 12, 3, 9)
SIZES = SampleSizes(
    shard=np.repeat(np.arange(5), COUNTS), row=np.concatenate([np.arange(count) for count in COUNTS]),
    regions=np.full(sum(COUNTS), 4), words=np.arange(sum(COUNTS)) % 7 + 3)
PIECES = pieces_of(COUNTS, 2)
LIMITS = PackLimits(pairs=5, tokens=10_000, joint=1, singles=False)


def walk(lane, limits, packs, state=LaneState()):      # noqa: B008 (frozen)
    taken = []
    for _ in range(packs):
        chosen, state = lane.take(state, limits)
        taken.append(chosen.tolist())
    return taken, state


def test_shards_are_dealt_once_and_evenly():
    dealt = deal(COUNTS, 2)
    assert sorted(sum(dealt, [])) == [0, 1, 2, 3, 4]
    loads = [sum(COUNTS[shard] for shard in shards) for shards in dealt]
    assert abs(loads[0] - loads[1]) <= 3


def test_fewer_shards_than_lanes_are_cut():
    pieces = pieces_of((10, 3), 4)
    assert np.concatenate(pieces).tolist() == list(range(13)) and len(pieces) == 7
    assert sorted(sum(len(pieces[number]) for number in lane) for lane in deal([len(p) for p in pieces], 4)) == [
        3, 3, 3, 4]
    with pytest.raises(UsageError, match="3 training samples for 4 lanes"):
        pieces_of((2, 1), 4)


def test_every_epoch_holds_every_sample_once_in_another_order():
    lane = Lane(SIZES, [PIECES[number] for number in (0, 2, 4)], 2, 1, 0, 0)
    samples = [sample for pack in walk(lane, LIMITS, 3 * 31 // 5 + 1)[0] for sample in pack]
    epochs = [samples[start:start + 31] for start in (0, 31, 62)]
    own = np.flatnonzero(np.isin(SIZES.shard, [0, 2, 4])).tolist()
    assert [sorted(epoch) for epoch in epochs] == [own] * 3
    assert epochs[0] != epochs[1] != epochs[2]


def test_a_window_holds_its_shards_only():
    lane = Lane(SIZES, [PIECES[number] for number in (0, 2, 4)], 1, 1, 0, 0)
    samples = [sample for pack in walk(lane, LIMITS, 7)[0] for sample in pack][:31]
    shards = SIZES.shard[samples].tolist()
    assert sum(one != two for one, two in zip(shards, shards[1:], strict=False)) == 2


def test_going_on_from_any_state_gives_the_same_packs():
    lane = Lane(SIZES, [PIECES[number] for number in (0, 1, 3)], 2, 1, 0, 0)
    whole, _ = walk(lane, LIMITS, 20)
    for packs in range(20):
        _, state = walk(lane, LIMITS, packs)
        fresh = Lane(SIZES, [PIECES[number] for number in (0, 1, 3)], 2, 1, 0, 0)
        assert walk(fresh, LIMITS, 20 - packs, state)[0] == whole[packs:]


def test_packs_end_at_the_token_limit_too():
    limits = PackLimits(pairs=100, tokens=60, joint=1, singles=False)
    packs, _ = walk(Lane(SIZES, [PIECES[number] for number in (0, 1, 2, 3, 4)], 9, 1, 0, 0), limits, 30)
    for pack in packs:
        tokens = sum(4 + int(SIZES.words[sample]) + 3 for sample in pack)
        assert 60 - (4 + 9 + 3) < tokens <= 60
