import numpy as np
import pytest

from crawl.errors import UsageError
from train.order import Lane, LaneState, PackLimits, Piece, SampleSizes, cut_for, deal

COUNTS = (10, 7, 12, 3, 9)
SIZES = SampleSizes(
    shard=np.repeat(np.arange(5), COUNTS), row=np.concatenate([np.arange(count) for count in COUNTS]),
    regions=np.full(sum(COUNTS), 4), words=np.arange(sum(COUNTS)) % 7 + 3)
PIECES = [Piece(np.arange(end - count, end)) for count, end in zip(COUNTS, np.cumsum(COUNTS), strict=True)]
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
    pieces = cut_for([Piece(np.arange(10)), Piece(np.arange(10, 13))], 4, "pretrain")
    assert np.concatenate([piece.numbers for piece in pieces]).tolist() == list(range(13)) and len(pieces) == 7
    sizes = [piece.expected for piece in pieces]
    assert sorted(sum(sizes[number] for number in lane) for lane in deal(sizes, 4)) == [
        3, 3, 3, 4]
    with pytest.raises(UsageError, match="stage 'pretrain': 3 training samples for 4 lanes"):
        cut_for([Piece(np.arange(2)), Piece(np.arange(1))], 4, "pretrain")


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


def test_a_share_shows_other_samples_in_each_epoch_and_uses_are_counted_without_reading():
    numbers = np.arange(400)
    lane = Lane(SampleSizes(numbers, numbers, numbers, numbers), [Piece(numbers[:200]), Piece(numbers[200:], 0.25)],
                1, 1, 0, 0)
    shown, state, epochs = [], LaneState(), {}
    while state.epoch < 6:
        before = state
        chosen, state = lane.take(state, PackLimits(pairs=7, tokens=10**9, joint=1, singles=False))
        shown += chosen.tolist()
        epochs.setdefault(before.epoch, []).extend(chosen.tolist())
    each = [sorted(number for number in epochs[epoch] if number >= 200) for epoch in range(1, 5)]
    assert all(25 < len(part) < 80 for part in each) and each[0] != each[1] != each[2]
    for number in (0, 7, 199, 200, 333, 399):
        assert lane.uses(number, state) == shown.count(number), number
    assert lane.uses(0, LaneState()) == 0 and lane.uses(5000, state) == 0
