"""Named settings of `judge` and `filter` whose rules are public: what others keep, on one's own pages.

A preset is a whole configuration of both stages.  Each rule of a source stands beside what it became here and what of
it cannot be reproduced; `imagebert presets` prints that, and docs/presets.md is what it prints.
"""
from __future__ import annotations

import dataclasses
import sys
from collections.abc import Collection, Mapping
from typing import Any

from crawl.config import as_dict
from filter.aggregate import AggregateRules
from filter.captions import CAPTION_REASONS, CaptionRules
from filter.dominance import REASONS, DominanceRules
from filter.filter_config import FilterConfig
from filter.images import IMAGE_REASONS, ImageRules
from filter.judging import JudgeConfig
from filter.near_duplicates import NearRules

_NO_LIMIT = sys.maxsize
_ANY_PLACE = DominanceRules(let_pass=REASONS)          # they take every <img> of a page, wherever it stands
_EXACT = NearRules(radius=0, second_radius=0, far_radius=0, far_second_radius=0)


@dataclasses.dataclass(frozen=True, slots=True)
class Rule:
    """One published rule."""

    said: str                      # by the source
    ours: str                      # the settings that stand for it, "" for none
    missing: str = ""              # what of it is not reproduced, "" for nothing
    given: str = ""                # the setting of `clip` with which it is, "" for none


@dataclasses.dataclass(frozen=True, slots=True)
class Preset:
    """What `--preset NAME` sets."""

    name: str
    source: str                    # where the rules were published
    judge: JudgeConfig
    filter: FilterConfig
    rules: tuple[Rule, ...]

    def missing(self, have: Collection[str] = ()) -> list[str]:
        """Returns what of the source's rules is not reproduced, given the settings of `clip` that name a file."""
        return [rule.missing for rule in self.rules if rule.missing and rule.given not in have]


def _judge(captions: CaptionRules) -> JudgeConfig:
    return JudgeConfig(captions=captions, dominance=_ANY_PLACE, max_images_of_a_text=_NO_LIMIT)


def _captions(*used: str, **limits: Any) -> CaptionRules:
    """Alt texts, with all rules off but these; personal data is masked, which none of the sources did."""
    usual: dict[str, Any] = {"sources": ("alt",), "personal_data": "mask", "max_words": _NO_LIMIT,
                             "max_characters": _NO_LIMIT}
    off = tuple(reason for reason in CAPTION_REASONS if reason not in ("source_not_used", *used))
    return CaptionRules(**usual | limits, let_pass=off)


def _filter(preset: str, *used: str, near: NearRules = _EXACT, max_images_per_caption: int = _NO_LIMIT,
            **limits: Any) -> FilterConfig:
    off = tuple(reason for reason in IMAGE_REASONS if reason not in used)
    return FilterConfig(
        preset=preset, images=ImageRules(**limits, let_pass=off), near=near, min_score=0.0,
        aggregate=AggregateRules(max_images_per_caption=max_images_per_caption, placeholder_texts=_NO_LIMIT))


_ENGLISH = ("captions.other_language, language=en (lid_path for fastText's lid.176)",
            "without lid_path a text whose words tell no language passes")
_NO_FILTH = ("captions.spam_words (filter/data/spam_words.txt), images.max_unsafe=0.5 with clip.unsafe_head",
             "the pornography and profanity classifiers: their weights are not public")
_LAIT = Preset(
    "lait", "ImageBERT (Qi et al. 2020, arXiv 2001.07966), section 1 of the LAIT collection; the default",
    JudgeConfig(), FilterConfig(), (
        Rule("English pages", "language=en, dominance.page_language"),
        Rule("the dominant images of a page", "dominance.*", "the detector is not published: rules on the page's tree"),
        Rule("width and height above 300 px", "images.min_side=300"),
        Rule("no pornographic or racy image", "images.max_unsafe=0.5 with clip.unsafe_head",
             "the classifier is not published; off without clip.weights and clip.unsafe_head"),
        Rule("no non-natural, no non-learnable image", "images.min_natural=0.35",
             "the classifier is not published: a small one trained on labels of our own"),
        Rule("alt, title, OG description, surrounding text", "captions.sources=[] (all)"),
        Rule("bad spans and noisy words cut, normal length, few unknown words", "captions.*",
             "lengths, words and shares are not published"),
        Rule("a weak semantic model rejects irrelevant pairs", "scorer, min_score=0.4", "its labels are not published"),
        Rule("the best-scored of several texts of an image", "always"),
        Rule("a text under too many images drops all of them", "aggregate.max_images_per_caption=10",
             "the count is not published")))

PRESETS: Mapping[str, Preset] = {preset.name: preset for preset in (
    _LAIT,
    Preset(
        "cc3m", "Conceptual Captions (Sharma et al., ACL 2018)",
        _judge(_captions("no_determiner", "no_preposition", "no_content_word", "repeated_words", "out_of_vocabulary",
                         "spam_words", "boilerplate", "empty", "other_language",
                         needs=("determiner", "preposition", "content_word"))),
        _filter("cc3m", "too_small", "too_narrow", "unsafe", formats=("jpg",), min_side=400, max_aspect=2.0), (
            Rule("JPEG only", "images.formats=[jpg]"),
            Rule("both sides above 400 px", "images.min_side=400"),
            Rule("longer to shorter side at most 2", "images.max_aspect=2"),
            Rule("no pornography, no profanity", *_NO_FILTH),
            Rule("the alt text, in English", *_ENGLISH),
            Rule("a determiner, a noun and a preposition",
                 "captions.needs=[determiner, preposition, content_word]",
                 "part-of-speech tags: a word outside of the closed classes stands for the noun"),
            Rule("no high share of nouns, of capitals, no strong sentiment", "",
                 "the shares are not published, and there is no tagger and no sentiment model here"),
            Rule("no high repetition of a token", "captions.max_repeat_share=0.5", "the share is not published"),
            Rule("every token at least 5 times in English Wikipedia", "captions.max_unknown_share=0.4",
                 "Wikipedia's vocabulary: words are held against the spelling of English instead"),
            Rule("boilerplate at the ends is cut", "captions.clean=true, captions.boilerplate",
                 "the list of phrases is not published"),
            Rule("5 to 20 classifier labels of the image, one in the text", "",
                 "image and text are not compared: the label classifier is not public"),
            Rule("names, places, dates become hypernyms", "", "hypernyms: the knowledge graph is not public"))),
    Preset(
        "cc12m", "Conceptual 12M (Changpinyo et al., CVPR 2021)",
        _judge(_captions("no_determiner", "no_content_word", "repeated_words", "too_few_words", "too_many_words",
                         "spam_words", "boilerplate", "out_of_vocabulary", "other_language",
                         needs=("determiner", "content_word"), min_words=3, max_words=256, max_repeat_share=0.2)),
        _filter("cc12m", "too_small", "too_narrow", "unsafe", formats=("jpg",), min_side=400, max_aspect=2.5), (
            Rule("JPEG only", "images.formats=[jpg]"),
            Rule("both sides above 400 px", "images.min_side=400"),
            Rule("longer to shorter side at most 2.5", "images.max_aspect=2.5"),
            Rule("no pornography, no profanity", *_NO_FILTH),
            Rule("the alt text, in English, 3 to 256 words",
                 "captions.min_words=3, captions.max_words=256; " + _ENGLISH[0], _ENGLISH[1]),
            Rule("a noun and a determiner; a preposition is not asked for",
                 "captions.needs=[determiner, content_word]",
                 "part-of-speech tags: a word outside of the closed classes stands for the noun"),
            Rule("a word is at most a fifth of the text", "captions.max_repeat_share=0.2",
                 "from three times on: a short text says `the` twice"),
            Rule("rare words, fewer than 20 times", "captions.max_unknown_share=0.4",
                 "the vocabulary: words are held against the spelling of English instead"),
            Rule("classifier labels of the image in the text", "",
                 "image and text are not compared: the label classifier is not public"),
            Rule("names of persons become <PERSON>", "", "names of persons stay: the tagger is not public"))),
    Preset(
        "coyo", "COYO-700M (Kakao Brain 2022, kakaobrain/coyo-dataset)",
        _judge(_captions("too_few_characters", "too_few_words", "too_many_words", "no_content_word", "spam_words",
                         "other_language", min_characters=6, min_words=3, max_words=256, max_characters=1000,
                         needs=("content_word",), clean=False)),
        _filter("coyo", "too_small", "too_narrow", "too_few_bytes", "unsafe", min_side=199, max_aspect=3.0,
                min_bytes=5000, max_images_per_caption=10), (
            Rule("at least 5 KB", "images.min_bytes=5000"),
            Rule("longer to shorter side at most 3", "images.max_aspect=3"),
            Rule("shorter side at least 200 px", "images.min_side=199 (sides are above it)"),
            Rule("two unsafe-image models at most 0.5", "images.max_unsafe=0.5",
                 "the unsafe filter, without clip.weights and clip.unsafe_head", "unsafe_head"),
            Rule("no image of the evaluation sets, by perceptual hash", "--decontaminate LIST|FOLDER",
                 "the evaluation images: name them by --decontaminate"),
            Rule("English by cld3", *_ENGLISH),
            Rule("white space normalised", "captions.clean=false"),
            Rule("more than 5 characters, at most 1,000; 3 to 256 words",
                 "captions.min_characters=6, captions.max_characters=1000, captions.min_words=3, "
                 "captions.max_words=256"),
            Rule("a noun", "captions.needs=[content_word]",
                 "part-of-speech tags: a word outside of the closed classes stands for the noun"),
            Rule("no word of a list of unsafe words", "captions.spam_words (filter/data/spam_words.txt)",
                 "their list of words"),
            Rule("a text under more than 10 images is dropped", "aggregate.max_images_per_caption=10"),
            Rule("one of equal (perceptual hash, text)", "one text an image, near.*=0: equal hashes are one picture",
                 "a picture with several texts keeps the best of them"))),
    Preset(
        "laion", "LAION-400M and LAION-5B (Schuhmann et al. 2021, 2022; crawling@home)",
        _judge(_captions("too_few_characters", "other_language", min_characters=5, clean=False)),
        dataclasses.replace(_filter("laion", "too_few_bytes", min_bytes=5000), min_cosine=0.3), (
            Rule("alt text of at least 5 characters", "captions.min_characters=5"),
            Rule("English (LAION-400M, LAION-2B-en) by a language model", *_ENGLISH),
            Rule("at least 5 KB", "images.min_bytes=5000"),
            Rule("JPEG, PNG, WebP; no svg, gif, data: URL", "images.formats=[jpg, png, webp]"),
            Rule("at most 89,478,484 pixels", "features: max_pixels"),
            Rule("cosine of CLIP ViT-B/32 at least 0.3 (LAION-400M)", "min_cosine=0.3",
                 "the CLIP cosine, without clip.weights", "weights"),
            Rule("unsafe images are marked, not dropped", "nothing is dropped"),
            Rule("one of equal (URL, text)", "one text an image, near.*=0: equal hashes are one picture",
                 "a picture with several texts keeps the best of them"))),
    Preset(
        "datacomp-basic", "DataComp (Gadre et al. 2023), baseline `basic filtering`",
        _judge(_captions("too_few_words", "too_few_characters", "other_language", min_words=3, min_characters=6,
                         clean=False)),
        _filter("datacomp-basic", "too_small", "too_narrow", min_side=200, max_aspect=2.9999), (
            Rule("English by fastText", *_ENGLISH),
            Rule("more than 2 words and more than 5 characters", "captions.min_words=3, captions.min_characters=6"),
            Rule("shorter side above 200 px", "images.min_side=200"),
            Rule("longer to shorter side below 3", "images.max_aspect=2.9999 (below 3 for sides to 10,000 px)"),
            Rule("near-duplicates of evaluation images are out of the pool", "--decontaminate LIST|FOLDER",
                 "the evaluation images: name them by --decontaminate"),
            Rule("(none: a picture may come with several texts)", "one text an image",
                 "a picture with several texts keeps the best of them"))))}


def missing_of(preset: str, have: Collection[str] = ()) -> list[str]:
    """Returns what of a preset's source is not reproduced, [] for a name that is no preset's."""
    return PRESETS[preset].missing(have) if preset in PRESETS else []


def notes_on(preset: str, judged: Mapping[str, Any], have: Collection[str] = ()) -> list[str]:
    """Returns the loud lines of a filter stage under a preset, given the config of the judge stage before it."""
    if preset not in PRESETS or preset == _LAIT.name:
        return []
    chosen, notes = PRESETS[preset], []
    if missing := chosen.missing(have):
        notes.append(f"preset {preset}: not reproduced: {'; '.join(missing)}")
    wanted = as_dict(chosen.judge)
    other = sorted(name for name in wanted if name != "buckets" and judged.get(name) != wanted[name])
    if other:
        notes.append(f"preset {preset}: the texts were judged by other settings ({', '.join(other)}); run `imagebert "
                     f"judge --preset {preset}` and what follows it for the whole preset")
    return notes


def preset_page() -> str:
    """Returns docs/presets.md."""
    lines = ["# Presets", "", "What `imagebert presets` prints: rules that others published, and what they are here. "
             "`--preset NAME` (of `judge`, `filter` and `dataset`)", "is a whole configuration of both stages; `--set` "
             "changes single settings of it, `--show-config` prints it. The funnel counts",
             "every reason, the manifest of `filter` lists what is not reproduced. Rules are from the papers and "
             "repositories named; under every preset", "an image keeps one caption, robots and consent are obeyed as "
             "always, and personal data in captions is masked", "(`lait`: rejected; `--set "
             "captions.personal_data=keep` for the letter of a source).", ""]
    for preset in PRESETS.values():
        lines += [f"## {preset.name}", "", f"{preset.source}.", "", "| the source says | here | not reproduced |",
                  "|---|---|---|"]
        lines += [f"| {rule.said} | {rule.ours or '-'} | {rule.missing} |" for rule in preset.rules] + [""]
    return "\n".join(lines)
