"""What pages say that is not a true caption: prose, titles, worse captions, spam, file names."""
from __future__ import annotations

import random

_OPENINGS = ("We spent most of the morning", "Last week our small team went", "Some of our readers asked about",
             "It took a while to get used to", "Nobody remembers who first suggested", "There is a long tradition of",
             "My sister has always been fond of", "The village council finally approved", "A friend wrote about")
_MIDDLES = ("walking along the coast", "collecting things for the spring fair", "the workshop behind the old station",
            "the little café near the harbour", "the exhibition in the town hall", "sorting what was left in the attic",
            "the new footpath through the hills", "the market on Saturday mornings", "a naïve idea from years ago")
_ENDINGS = ("before the rain came in.", "and it was well worth the trouble.", "although the bus was late again.",
            "because everyone had been waiting for it.", "and we would gladly do it again next year.",
            "while the children played outside.", "but that is a story for another day.", "as the evening grew colder.")

_TITLES = ("Notes from the coast", "Weekend letters", "What we saw this month", "Small discoveries", "The open studio",
           "Field diary", "Things worth keeping", "From the reading room", "Our yearly round-up", "Around the harbour")

_WORSE = ("one of the pictures we liked best last summer", "another view of the same thing from our collection",
          "this one turned out better than we had hoped", "the picture everybody asked us about afterwards",
          "taken with the old camera on a quiet afternoon", "a closer look at what was shown above",
          "you have seen this one before in a smaller size", "click to see the picture in full size",
          "the same scene as it appeared on our front page", "we could not resist showing it once more")
_SHORT = ("picture", "photo 2", "large view", "image", "detail", "shapes", "untitled", "full size", "colours")

_SPAM = ("buy cheap {w} online best {w} price cheap {w} free shipping {w} sale",
         "{w} {w} {w} discount {w} coupon {w} deals {w} outlet {w}",
         "!!! CLICK HERE for BEST {w} >>> www.{w}-deals.example <<< LIMITED OFFER !!!",
         "{w}, cheap {w}, {w} shop, {w} store, {w} for sale, {w} 2024, top {w}, {w} near me")
_SPAM_WORDS = ("watches", "mattress", "insurance", "sneakers", "vouchers", "casino", "printer ink", "perfume")

_SHARED = (("a wonderful moment from our", "a quiet impression of our", "a lovely souvenir from our",
            "a random snapshot from our", "one of many views from our", "a warm greeting from our"),
           ("spring", "summer", "autumn", "winter", "first", "second", "latest", "annual"),
           ("trip", "meeting", "collection", "excursion", "festival", "exhibition", "holiday", "workshop"),
           ("on the northern coast", "in the old town", "near the lake", "in the mountains", "by the harbour",
            "with all our friends", "at the new gallery", "in the river valley"))

_SCREENSHOTS = ("screenshot of the order form with all fields", "our opening hours and prices in one table",
                "the minutes of the last meeting as a page", "a page from the printed programme of the season")
_BANNERS = ("Summer sale, up to 50 percent off everything", "Subscribe now and get three months for free",
            "Advertisement", "Download our app for your phone today")


def dice(*key: object) -> random.Random:
    """Returns a generator that depends on nothing but the key."""
    return random.Random("/".join(map(str, key)))


def paragraph(rng: random.Random, sentences: int) -> str:
    """Returns fluent prose that describes no picture."""
    return " ".join(f"{rng.choice(_OPENINGS)} {rng.choice(_MIDDLES)} {rng.choice(_ENDINGS)}" for _ in range(sentences))


def title(rng: random.Random) -> str:
    """Returns the title of a page."""
    return f"{rng.choice(_TITLES)}, part {rng.randrange(2, 90)}"


def worse_caption(rng: random.Random, captions: tuple[str, ...]) -> str:
    """Returns a text that a careless editor gives a copy of a picture: vague, too short, cut off, or a file name."""
    style = rng.randrange(4)
    if style == 0:
        return rng.choice(_WORSE)
    if style == 1:
        return rng.choice(_SHORT)
    if style == 2:
        words = rng.choice(captions).split()
        return " ".join(words[:rng.randrange(4, 8)]) + "..."
    return file_name(rng)


def file_name(rng: random.Random) -> str:
    """Returns an alt text that is the name a camera or an editor gave the file."""
    number = rng.randrange(10_000)
    return rng.choice((f"IMG_{number:04d}.JPG", f"DSC0{number:04d}", f"image-{number}.jpg", f"P10{number:05d}.jpeg",
                       f"photo_{number}_final.png", f"wp-content/uploads/2021/{number % 12 + 1:02d}/scan{number}.jpg"))


def spam(rng: random.Random) -> str:
    """Returns an alt text written for search engines."""
    return rng.choice(_SPAM).format(w=rng.choice(_SPAM_WORDS))


def shared_caption(group: int) -> str:
    """Returns the one fluent sentence that a whole group of pictures bears; different for 3,072 groups."""
    words = []
    for choices in _SHARED:
        group, index = divmod(group, len(choices))
        words.append(choices[index])
    return " ".join(words)


def screenshot_text(rng: random.Random) -> str:
    """Returns the alt text of a picture of text."""
    return rng.choice(_SCREENSHOTS)


def banner_text(rng: random.Random) -> str:
    """Returns the alt text of an advertisement."""
    return rng.choice(_BANNERS)


def date_text(rng: random.Random) -> str:
    """Returns an alt text that only says when."""
    month = rng.choice(("January", "March", "May", "July", "October", "December"))
    clock = f"{rng.randrange(24):02d}:{rng.randrange(60):02d}"
    return f"{rng.randrange(1, 29)} {month} {rng.randrange(2009, 2025)}, {clock}"
