"""A small folder of drawn photographs with captions, in both forms that are read."""
import io
import json

import numpy as np
from PIL import Image, ImageDraw

COLOURS = {"red": (220, 30, 40), "green": (30, 180, 60), "blue": (40, 60, 220), "white": (240, 240, 240)}
SHAPES = ("circle", "square")


def drawn(number):
    """Returns a JPEG of a coloured shape, and two captions of it."""
    colour, shape = list(COLOURS)[number % 4], SHAPES[number // 4 % 2]
    pixels = np.random.default_rng(number).integers(90, 130, size=(64, 80, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    left, top = 8 + number * 7 % 30, 6 + number * 5 % 20
    box = (left, top, left + 28, top + 28)
    pen = ImageDraw.Draw(image)
    (pen.ellipse if shape == "circle" else pen.rectangle)(box, fill=COLOURS[colour])
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue(), [f"a {colour} {shape} on grey", f"one {shape} painted {colour}"]


def make_folder(folder, train=24, val=8, test=8, karpathy=False):
    """Writes photographs and their captions file; returns the folder's name."""
    (folder / "images").mkdir(parents=True)
    entries = []
    for number, split in enumerate(["train"] * train + ["val"] * val + ["test"] * test):
        data, captions = drawn(number)
        name = f"photo{number:03d}.jpg"
        (folder / "images" / name).write_bytes(data)
        if karpathy:
            sentences = [{"raw": text, "tokens": text.split(), "imgid": number, "sentid": 2 * number + at}
                         for at, text in enumerate(captions)]
            entries.append({"filename": name, "imgid": number, "sentences": sentences,
                            "split": "restval" if split == "train" and number % 2 else split})
        else:
            entries.append({"file": name, "captions": captions, "split": split})
    if karpathy:
        (folder / "dataset_small.json").write_text(json.dumps({"dataset": "small", "images": entries}))
    else:
        (folder / "captions.json").write_text(json.dumps(entries))
    return str(folder)
