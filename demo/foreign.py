"""Pages and captions in four other languages: true of their scenes, and not English."""
from __future__ import annotations

import dataclasses
import random

from demo.scenes import COLOURS, SHAPES, Scene


@dataclasses.dataclass(frozen=True, slots=True)
class Language:
    """What is needed to write a page in one language."""

    code: str                      # of html lang
    charset: str                   # the page is sent in it
    declared: tuple[str, ...]      # where the charset is said: header, meta
    shapes: tuple[str, ...]        # in the order of scenes.SHAPES
    colours: tuple[str, ...]       # in the order of scenes.COLOURS
    caption: str                   # template of one object
    second: str                    # template that adds another
    title: str
    prose: tuple[str, ...]


LANGUAGES = {
    "german": Language(
        "de", "iso-8859-1", ("meta",),
        ("Kreis", "Quadrat", "Dreieck", "Stern", "Herz", "Kreuz", "Ring"),
        ("Rot", "Orange", "Gelb", "Grün", "Türkis", "Blau", "Violett", "Rosa", "Weiß", "Schwarz"),
        "Das Bild zeigt die Form {shape} in der Farbe {colour}", ", daneben die Form {shape} in {colour}",
        "Aufzeichnungen von der Küste",
        ("Wir haben den ganzen Vormittag am Hafen verbracht und auf besseres Wetter gewartet.",
         "Die Ausstellung im Rathaus ist noch bis zum Ende des Monats geöffnet.",
         "Früher fuhr hier einmal in der Woche ein Zug über die Brücke.")),
    "french": Language(
        "fr", "utf-8", ("header",),
        ("cercle", "carré", "triangle", "étoile", "cœur", "croix", "anneau"),
        ("rouge", "orange", "jaune", "vert", "turquoise", "bleu", "violet", "rose", "blanc", "noir"),
        "Sur cette image on voit la forme {shape} de couleur {colour}", " à côté de la forme {shape} en {colour}",
        "Carnets de la côte",
        ("Nous avons passé toute la matinée au bord de la mer avant l'arrivée de la pluie.",
         "L'exposition de la mairie reste ouverte jusqu'à la fin du mois.",
         "Autrefois un train passait ici une fois par semaine.")),
    "russian": Language(
        "ru", "windows-1251", ("header",),
        ("круг", "квадрат", "треугольник", "звезда", "сердце", "крест", "кольцо"),
        ("красный", "оранжевый", "жёлтый", "зелёный", "бирюзовый", "синий", "фиолетовый", "розовый", "белый", "чёрный"),
        "На этой фотографии изображена фигура {shape}, цвет {colour}", " и рядом фигура {shape}, цвет {colour}",
        "Заметки с побережья",
        ("Мы провели всё утро в гавани и ждали, пока погода станет лучше.",
         "Выставка в ратуше открыта до конца месяца.",
         "Раньше здесь раз в неделю проходил поезд.")),
    "japanese": Language(
        "ja", "shift_jis", ("meta",),
        ("円", "四角形", "三角形", "星", "ハート", "十字", "輪"),
        ("赤", "オレンジ", "黄色", "緑", "水色", "青", "紫", "ピンク", "白", "黒"),
        "この写真には{colour}の{shape}が写っています", "。となりに{colour}の{shape}があります",
        "海辺の日記",
        ("午前中はずっと港で天気が良くなるのを待っていました。",
         "市役所の展覧会は今月の終わりまで開かれています。",
         "昔は週に一度ここを列車が通っていました。")),
}


def foreign_caption(scene: Scene, language: str) -> str:
    """Returns a sentence about the scene in that language."""
    words = LANGUAGES[language]
    parts = [template.format(shape=words.shapes[SHAPES.index(item.shape)],
                             colour=words.colours[COLOURS.index(item.colour)])
             for template, item in zip((words.caption, words.second), scene.objects, strict=False)]
    return "".join(parts)


def foreign_paragraph(rng: random.Random, language: str) -> str:
    """Returns fluent prose in that language that describes no picture."""
    return " ".join(rng.sample(LANGUAGES[language].prose, 3))
