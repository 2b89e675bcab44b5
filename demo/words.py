"""What pages say that is not a true caption: prose, titles, worse captions, spam, file names, in two profiles."""
from __future__ import annotations

import dataclasses
import random


@dataclasses.dataclass(frozen=True, slots=True)
class Words:
    """The building blocks of one profile."""

    openings: tuple[str, ...]      # of a sentence, followed by a topic and an ending
    topics: tuple[str, ...]
    endings: tuple[str, ...]
    titles: tuple[str, ...]
    worse: tuple[str, ...]         # fluent captions that say nothing
    short: tuple[str, ...]
    spam: tuple[str, ...]          # with {w} for the goods
    goods: tuple[str, ...]
    files: tuple[str, ...]         # with {n}, a number below 10,000
    shared: tuple[tuple[str, ...], ...]  # one word of each makes the caption of a group of pictures
    screenshots: tuple[str, ...]
    banners: tuple[str, ...]
    decorated: tuple[str, ...]     # with {caption} and {site}


WORDS = {
    "first": Words(
        openings=("We spent most of the morning on", "Last week our small team talked about",
                  "Some of our readers asked about", "It took a while to get used to",
                  "Nobody remembers who first suggested", "There is a long tradition of",
                  "My sister has always been fond of", "The village council finally approved",
                  "A friend wrote about"),
        topics=("walking along the coast", "collecting things for the spring fair",
                "the workshop behind the old station", "the little café near the harbour",
                "the exhibition in the town hall", "sorting the things in the attic",
                "the new footpath through the hills", "the market on Saturday mornings", "a naïve idea from years ago"),
        endings=("before the rain came in.", "and it was well worth the trouble.", "although the bus was late again.",
                 "because everyone had been waiting for it.", "and we would gladly do it again next year.",
                 "while the children played outside.", "but that is a story for another day.",
                 "as the evening grew colder."),
        titles=("Notes from the coast", "Weekend letters", "What we saw this month", "Small discoveries",
                "The open studio", "Field diary", "Things worth keeping", "From the reading room",
                "Our yearly round-up", "Around the harbour"),
        worse=("one of the pictures we liked best last summer", "another view of the same thing from our collection",
               "this one turned out better than we had hoped", "the picture everybody asked us about afterwards",
               "taken with the old camera on a quiet afternoon", "a closer look at what was shown above",
               "you have seen this one before in a smaller size", "click to see the picture in full size",
               "the same scene as it appeared on our front page", "we could not resist showing it once more"),
        short=("picture", "photo 2", "large view", "image", "detail", "shapes", "untitled", "full size", "colours"),
        spam=("buy cheap {w} online best {w} price cheap {w} free shipping {w} sale",
              "{w} {w} {w} discount {w} coupon {w} deals {w} outlet {w}",
              "!!! CLICK HERE for BEST {w} >>> www.{w}-deals.example <<< LIMITED OFFER !!!",
              "{w}, cheap {w}, {w} shop, {w} store, {w} for sale, {w} 2024, top {w}, {w} near me"),
        goods=("watches", "mattress", "insurance", "sneakers", "vouchers", "casino", "printer ink", "perfume"),
        files=("IMG_{n:04d}.JPG", "DSC0{n:04d}", "image-{n}.jpg", "P10{n:05d}.jpeg", "photo_{n}_final.png",
               "wp-content/uploads/2021/11/scan{n}.jpg"),
        shared=(("a wonderful moment from our", "a quiet impression of our", "a lovely souvenir from our",
                 "a random snapshot from our", "one of many views from our", "a warm greeting from our"),
                ("spring", "summer", "autumn", "winter", "first", "second", "latest", "annual"),
                ("trip", "meeting", "collection", "excursion", "festival", "exhibition", "holiday", "workshop"),
                ("on the northern coast", "in the old town", "near the lake", "in the mountains", "by the harbour",
                 "with all our friends", "at the new gallery", "in the river valley")),
        screenshots=("screenshot of the order form with all fields", "our opening hours and prices in one table",
                     "the minutes of the last meeting as a page", "a page from the printed programme of the season"),
        banners=("Summer sale, up to 50 percent off everything", "Subscribe now and get three months for free",
                 "Advertisement", "Download our app for your phone today"),
        decorated=("{caption} - {site}", "Photo: {caption}", "{caption} (photo by J. Miller)", "{caption} | {site}")),
    "second": Words(
        openings=("Regulations now require every member to read up on", "Yesterday's broadcast was all about",
                  "Experts disagree sharply about", "Please do not forget", "Half of the budget went into",
                  "The second chapter deals with", "You can always count on", "According to the minutes we discussed"),
        topics=("maintenance of the heating system", "grandmother's recipes for winter soups",
                "the regional rail timetable",
                "training for the half marathon", "repairs to the façade of the library", "the chess club's new venue",
                "beekeeping in crowded cities", "the history of lighthouse keepers"),
        endings=("until the end of the quarter.", "which surprised nobody in the room.", "so bring your own cup.",
                 "whatever the newspapers may claim.", "provided that enough people sign up.",
                 "and tickets are still available at the desk.", "unless the weather turns."),
        titles=("Bulletin", "Letters to the editor", "Minutes and memos", "Kitchen table talk", "Club news",
                "Second-hand stories", "Ask the librarian", "The long read"),
        worse=("have a look for yourself and tell us what you think", "here it is again for those who missed it",
               "our editor's favourite of this issue", "scroll down for the story behind this shot",
               "as seen in the printed edition", "no retouching was needed for this one",
               "shared with kind permission of the owner", "tap the picture to enlarge it"),
        short=("fig. 3", "preview", "thumbnail", "no title", "attachment", "slide", "hero image", "gallery item"),
        spam=("{w} reviews | {w} prices | order {w} today | {w} discount code 2023",
              "BEST {w} EVER!!! 100% GUARANTEED {w} $$$ call 555-0199 now $$$",
              "#{w} #cheap{w} #{w}lovers #instagood #follow4follow #{w}oftheday",
              "download {w} free full version no registration {w} crack keygen {w} torrent"),
        goods=("loans", "wallpaper", "sunglasses", "antivirus", "supplements", "handbags", "poker", "ringtones"),
        files=("20190812_{n:04d}.jpg", "DCIM/100MEDIA/DJI_{n:04d}.JPG", "Screenshot_2022-03-04-{n}.png",
               "untitled-{n}-1024x768",
               "FB_IMG_15{n}88.jpg", "c7f0{n:04d}-9a1e-4b7d.webp"),
        shared=(("greetings to everybody who joined our", "memories that will last from our",
                 "thanks for coming to our", "impressions our members brought home from our",
                 "the official picture of our"),
                ("tenth", "monthly", "regional", "charity", "winter", "opening", "farewell"),
                ("dinner", "tournament", "parade", "bake sale", "concert", "training camp", "assembly", "picnic"),
                ("in the sports hall", "at the fire station", "behind the church", "on the main square",
                 "at the community centre", "in the school garden", "at the marina")),
        screenshots=("when you finally understand the instructions",
                     "the full text of the announcement to read at home",
                     "this says everything about Monday mornings", "a list of all the winners with their scores"),
        banners=("Book your stay today and save", "Sponsored content", "Vote for us in the local awards",
                 "Sign up for the newsletter"),
        decorated=("{caption} – {site} archive", "[Image] {caption}", "{caption} © {site} 2021",
                   "Picture 4: {caption}")),
}


def dice(*key: object) -> random.Random:
    """Returns a generator that depends on nothing but the key."""
    return random.Random("/".join(map(str, key)))


def paragraph(rng: random.Random, sentences: int, profile: str) -> str:
    """Returns fluent prose that describes no picture."""
    words = WORDS[profile]
    return " ".join(f"{rng.choice(words.openings)} {rng.choice(words.topics)} {rng.choice(words.endings)}"
                    for _ in range(sentences))


def title(rng: random.Random, profile: str) -> str:
    """Returns the title of a page."""
    return f"{rng.choice(WORDS[profile].titles)}, part {rng.randrange(2, 90)}"


def worse_caption(rng: random.Random, captions: tuple[str, ...], profile: str) -> str:
    """Returns a text that a careless editor gives a copy of a picture: vague, too short, cut off, or a file name."""
    style = rng.randrange(4)
    if style == 0:
        return rng.choice(WORDS[profile].worse)
    if style == 1:
        return rng.choice(WORDS[profile].short)
    if style == 2:
        words = rng.choice(captions).split()
        return " ".join(words[:rng.randrange(4, 8)]) + "..."
    return file_name(rng, profile)


def file_name(rng: random.Random, profile: str) -> str:
    """Returns an alt text that is the name a camera or an editor gave the file."""
    return rng.choice(WORDS[profile].files).format(n=rng.randrange(10_000))


def spam(rng: random.Random, profile: str) -> str:
    """Returns an alt text written for search engines."""
    return rng.choice(WORDS[profile].spam).format(w=rng.choice(WORDS[profile].goods))


def shared_caption(group: int, profile: str) -> str:
    """Returns the one fluent sentence that a whole group of pictures bears; different for some 2,000 groups."""
    words = []
    for choices in WORDS[profile].shared:
        group, index = divmod(group, len(choices))
        words.append(choices[index])
    return " ".join(words)


def screenshot_text(rng: random.Random, profile: str) -> str:
    """Returns the alt text of a picture of text."""
    return rng.choice(WORDS[profile].screenshots)


def banner_text(rng: random.Random, profile: str) -> str:
    """Returns the alt text of an advertisement."""
    return rng.choice(WORDS[profile].banners)


def date_text(rng: random.Random, profile: str) -> str:
    """Returns an alt text that only says when, the day or the month first."""
    month = rng.choice(("January", "March", "May", "July", "October", "December"))
    day, year = rng.randrange(1, 29), rng.randrange(2009, 2025)
    clock = f"{rng.randrange(24):02d}:{rng.randrange(60):02d}"
    return f"{day} {month} {year}, {clock}" if profile == "first" else f"{month} {day}, {year} {clock}"
