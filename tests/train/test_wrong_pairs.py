"""Wrong pairs: from the batch, from the whole set, and the hardest of those; never a right one by another name."""
import dataclasses

import numpy as np
import pytest

from tests.train import synthetic
from train.finetune import with_one_caption
from train.gathering import token_hash
from train.wrong_pairs import TrainingSet, from_pack, hardest, split_sides


def _twins(images):
    """Returns samples of which 0 and 1 are one image, and 2 and 3 have one caption."""
    samples = list(synthetic.collection(images).samples)
    samples[1] = dataclasses.replace(samples[1], image_hash=samples[0].image_hash)
    if images > 3:
        samples[3] = dataclasses.replace(samples[3], caption_hash=samples[2].caption_hash)
    return samples


def _shown(pairs):
    """Returns [P, B] of (image's key, caption's words)."""
    count = pairs.allowed.shape[1]
    found = [(pairs.samples[i].key, tuple(pairs.samples[c].words)) for i, c in
             zip(pairs.rows.images, pairs.rows.captions, strict=True)]
    return [found[at:at + count] for at in range(0, len(found), count)]


def test_of_the_batch_half_captions_half_images_and_never_an_own_one():
    samples = _twins(10)
    for step in range(30):
        pairs = from_pack(samples, 3, "both", 1, 1, step)
        images, captions = pairs.rows.images.reshape(4, 10), pairs.rows.captions.reshape(4, 10)
        assert (images[0] == captions[0]).all() and pairs.allowed.all()
        assert (images[1:3] == np.arange(10)).all() and (captions[3] == np.arange(10)).all()
        assert (captions[1] != captions[2]).all()                  # without repetition
        wrong = {(i, c) for i, c in zip(images[1:].ravel(), captions[1:].ravel(), strict=True)}
        assert not wrong & {(n, n) for n in range(10)}
        assert not wrong & {(0, 1), (1, 0), (2, 3), (3, 2)}
        assert not pairs.rows.masked.any()                         # section 5.1: no masks
    assert from_pack(_twins(2), 2, "both", 1, 1).allowed.tolist() == [[True, True], [False, False], [False, False]]


@pytest.mark.parametrize("sides", ["both", "captions", "images"])
def test_of_the_whole_set_without_repetition(sides):
    collection = synthetic.collection(40, captions=3, seed=2)
    train, numbers = TrainingSet(collection), np.array([4, 9, 30])
    chosen = with_one_caption(collection, numbers, 1, 1)
    captions, images = split_sides(7, sides)
    seen = set()
    for step in range(40):
        pairs = train.draw(chosen, numbers, 7, sides, 1, step)
        assert pairs.allowed.all() and pairs.rows.matched.tolist() == [1] * 3 + [0] * 21
        rows = _shown(pairs)
        for pair, own in enumerate(chosen):
            texts, pictures = [rows[1 + n][pair] for n in range(captions)], [rows[1 + captions + n][pair]
                                                                             for n in range(images)]
            assert {image for image, _ in texts} <= {own.key} and {words for _, words in pictures} <= {tuple(own.words)}
            assert len(set(texts)) == captions and len(set(pictures)) == images
            assert own.key not in {image for image, _ in pictures}
            assert not {words for _, words in texts} & set(map(tuple, collection.captions[numbers[pair]]))
            seen |= {image for image, _ in pictures} | {words for _, words in texts}
    assert len(seen) > (110 if captions else 0) + (38 if images else 0)      # all of 40 images with 3 captions


def test_what_is_right_by_another_name_is_no_wrong_pair():
    collection = synthetic.collection(4, captions=2, seed=2)
    samples, captions = list(collection.samples), [list(own) for own in collection.captions]
    samples[1] = dataclasses.replace(samples[1], group_hash=samples[0].group_hash)      # a near-duplicate of image 0
    captions[2][1] = captions[0][0]                                                     # image 2 has a caption of 0
    samples = [dataclasses.replace(one, words=own[0], caption_hash=token_hash(own[0]))
               for one, own in zip(samples, captions, strict=True)]
    twins = dataclasses.replace(collection, samples=tuple(samples), captions=tuple(map(tuple, captions)))
    train = TrainingSet(twins)
    for step in range(20):
        pairs = train.draw(samples[:1], np.array([0]), 3, "images", 1, step)
        assert pairs.allowed[:, 0].tolist() == [True, True, False, False]
        assert _shown(pairs)[1][0][0] == samples[3].key
        texts = train.draw(samples[:1], np.array([0]), 3, "captions", 1, step)
        wrong = [row[0][1] for row, fine in zip(_shown(texts)[1:], texts.allowed[1:, 0], strict=True) if fine]
        assert wrong and tuple(captions[0][0]) not in wrong


def test_the_hardest_are_kept_on_each_side():
    collection = synthetic.collection(40, captions=2, seed=2)
    train, numbers = TrainingSet(collection), np.array([4, 9])
    drawn = train.draw(with_one_caption(collection, numbers, 1, 1), numbers, 9, "both", 1, 1)
    drawn.allowed[2, 0] = False
    scores = np.random.default_rng(1).normal(size=20).astype(np.float32)
    scores[2 * 2] = 99.0                                  # high, but not allowed
    kept = hardest(drawn, 3, "both", lambda samples, rows: scores)
    grid, before, after = scores.reshape(10, 2), _shown(drawn), _shown(kept)
    assert kept.allowed.all() and after[0] == before[0]
    for pair in range(2):
        texts = [row for row in np.argsort(-grid[1:6, pair]) + 1 if drawn.allowed[row, pair]][:2]
        picture = 6 + int(np.argmax(grid[6:, pair]))
        assert [after[n][pair] for n in (1, 2, 3)] == [before[n][pair] for n in (*texts, picture)]
    with pytest.raises(ValueError, match="9 drawn"):
        hardest(drawn, 10, "both", lambda samples, rows: scores)
