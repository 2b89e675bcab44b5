"""Aggregation against a brute force that reads the rules off the page, on random small inputs."""
from __future__ import annotations

import dataclasses
import random
from collections import Counter, defaultdict

import pytest

from crawl.records import Image
from filter.aggregate import AggregateRules, Copies, best_copies, copies_of, gave_way, settle, split_of
from filter.cases import ALIVE, Claims, ImageCase, Text, ban, best_card, pair_id
from filter.images import ImageRules
from filter.judging import JudgeConfig, judge_candidate
from filter.near_duplicates import Card, NearRules, bands, give_way, pack, same_picture, sha256_of
from filter.records import Caption
from tests.filter.test_images import PHOTOGRAPH
from tests.filter.tiny_web import candidate

NEAR = NearRules()
ROW = judge_candidate(candidate("https://a.example/x.jpg"), JudgeConfig())
IMAGE = Image(url_key="k", url="https://a.example/x.jpg", outcome="ok", http_status=200, final_url="", fetched_at="",
              signals=(), permission="allow", format="jpg", width=400, height=320, num_bytes=1, sha256="", part="p",
              offset=0, length=1)


def case(name, bits, captions, pixels=400):
    sha256 = f"{name:064x}"
    facts = dataclasses.replace(PHOTOGRAPH, sha256=sha256, perceptual_hash=f"{bits:016x}", difference_hash="0" * 16,
                                width=pixels, height=320)
    rows = tuple((dataclasses.replace(ROW, page_key=f"{name}-{n}", captions=(Caption("alt", words, words, ""),)), IMAGE)
                 for n, (words, _) in enumerate(captions))
    texts = [Text(pair_id(sha256, words), words, row.captions[0], row, IMAGE, score, ALIVE)
             for (words, score), (row, _) in zip(captions, rows, strict=True)]
    return ImageCase(facts, ALIVE, tuple(sorted(texts, key=lambda text: text.rank)), Claims(len(rows), rows))


def random_cases(seed):
    rng = random.Random(seed)
    centres = [rng.getrandbits(64) for _ in range(4)]
    cases = []
    for name in range(14):
        bits = rng.choice(centres)
        for _ in range(rng.randrange(0, 5)):
            bits ^= 1 << rng.randrange(64)
        words = rng.sample(["a heron", "a barn", "a boat", "a hill", "a house", "a road"], rng.randrange(1, 4))
        cases.append(case(name, bits, [(word, rng.randrange(4) / 4) for word in words], rng.choice((400, 410))))
    return cases


def aggregate(cases, rules):
    meetings = defaultdict(list)
    for card in map(pack, filter(None, map(best_card, cases))):
        for band in bands(card, NEAR):
            meetings[band].append(card)
    winners = defaultdict(list)
    for cards in meetings.values():
        for sha256, winner in give_way(cards, NEAR):
            winners[sha256].append(winner)
    chosen = {sha256: sha256_of(min(cards)) for sha256, cards in winners.items()}
    said = {(text.identity, chosen.get(one.facts.sha256, one.facts.sha256)) for one in cases for text in one.alive()}
    banned = {identity for identity, count in Counter(identity for identity, _ in said).items()
              if count > rules.max_images_per_caption}
    cases = [ban(one, banned) for one in cases]
    copies = defaultdict(Copies)
    for one in cases:
        if one.facts.sha256 in chosen:
            winner = chosen[one.facts.sha256]
            copies[winner] = best_copies((copies[winner], copies_of(one)), rules)
    return [gave_way(one) if one.facts.sha256 in chosen else settle(one, copies[one.facts.sha256], rules)
            for one in cases]


def brute_force(cases, rules):
    """Kept (sha256, caption), written from the rules alone: every pair of images is compared."""
    cards = {one.facts.sha256: Card(one.facts.sha256, max(text.score for text in one.texts),
                                    one.facts.width * one.facts.height, one.facts.perceptual_hash,
                                    one.facts.difference_hash, one.facts.width / one.facts.height, one.facts.colours)
             for one in cases}
    above = {}
    for card in cards.values():
        better = [other for other in cards.values()
                  if (-other.score, -other.pixels, other.sha256) < (-card.score, -card.pixels, card.sha256)
                  and set(bands(pack(card), NEAR)) & set(bands(pack(other), NEAR)) and same_picture(card, other, NEAR)]
        if better:
            above[card.sha256] = min(better, key=lambda other: (-other.score, -other.pixels, other.sha256)).sha256
    pictures = defaultdict(set)
    for one in cases:
        for text in one.texts:
            pictures[text.identity].add(above.get(one.facts.sha256, one.facts.sha256))
    alive = {one.facts.sha256: {text.identity: text.score for text in one.texts
                                if len(pictures[text.identity]) <= rules.max_images_per_caption} for one in cases}
    all_texts = {one.facts.sha256: {text.identity for text in one.texts} for one in cases}
    kept = {}
    for sha256 in cards.keys() - above.keys():
        texts = {(-score, pair_id(sha256, words), words) for words, score in alive[sha256].items()}
        for other, winner in above.items():
            if winner == sha256:
                texts |= {(-score, pair_id(other, words), words) for words, score in alive[other].items()
                          if words not in all_texts[sha256]}
        if texts:
            kept[sha256] = min(texts)[2]
    return kept


@pytest.mark.parametrize("seed", range(30))
def test_aggregation_equals_brute_force(seed):
    cases, rules = random_cases(seed), AggregateRules(max_images_per_caption=5, placeholder_texts=99)
    settled = aggregate(cases, rules)
    assert {one.best.image_sha256: one.best.caption for one in settled if one.best} == brute_force(cases, rules)


@pytest.mark.parametrize("seed", range(10))
def test_every_pair_and_every_image_has_one_outcome_in_any_order(seed):
    cases, rules = random_cases(seed), AggregateRules(max_images_per_caption=5, placeholder_texts=3)
    settled = aggregate(cases, rules)
    pairs = [pair for one in settled for pair in one.pairs]
    from_copies = sum(one.best is not None and all(pair.pair_id != text.pair_id for text in case.texts)
                      for one, case in zip(settled, cases, strict=True) for pair in one.pairs if pair.outcome == "kept")
    assert len({pair.pair_id for pair in pairs}) == len(pairs) == sum(len(one.texts) for one in cases) + from_copies
    assert sorted(one.image.sha256 for one in settled) == sorted(one.facts.sha256 for one in cases)
    assert sum(pair.outcome == "kept" for pair in pairs) == sum(one.best is not None for one in settled)
    shuffled = aggregate(random.Random(seed).sample(cases, len(cases)), rules)
    assert sorted(map(repr, settled)) == sorted(map(repr, shuffled))


def test_a_picture_under_many_different_captions_is_a_placeholder():
    words = [f"a {word} house" for word in ("red", "blue", "old", "new", "tall")]
    one = case(1, 5, [(word, 0.5) for word in words])
    rules = AggregateRules(placeholder_texts=5)
    assert {pair.outcome for pair in settle(one, Copies(), rules).pairs} == {"placeholder"}
    assert settle(one, Copies(), AggregateRules(placeholder_texts=6)).best is not None


def test_equal_captions_are_in_one_split_and_the_share_is_met():
    sides = [split_of(f"caption {n}", 0.2) for n in range(2000)]
    assert 0.17 < sides.count("test") / 2000 < 0.23 and {split_of("x", 0.0), split_of("x", 1.0)} == {"train", "test"}
    assert ImageRules().min_side == 300
