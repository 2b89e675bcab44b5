"""Shows a person what each stage did to what came in."""
from __future__ import annotations

from collections.abc import Iterable

import rich.box
import rich.console
import rich.markup
import rich.table

from crawl.stages import Funnel

_REASONS_SHOWN = 6
_WIDTH = 140                       # where standard output is no terminal


def print_funnel(funnel: Iterable[Funnel], notes: Iterable[str] = ()) -> None:
    """Prints the funnel as a table, one line a stage and unit, and the notes below it."""
    table = rich.table.Table(box=rich.box.SIMPLE_HEAD, title="funnel", title_justify="left")
    for name, justify in (("stage", "left"), ("unit", "left"), ("in", "right"), ("outcomes", "left")):
        table.add_column(name, justify=justify, overflow="fold")      # type: ignore[arg-type]
    for line in funnel:
        table.add_row(line.stage, line.unit, f"{line.rows_in:,}", rich.markup.escape(outcomes_text(line)))
    console = _console()
    console.print(table)
    _print_notes(console, notes)


def print_outcomes(funnel: Iterable[Funnel], notes: Iterable[str] = ()) -> None:
    """Prints every outcome of one stage, a line each with its share of what came in, and the notes below."""
    console = _console()
    for line in funnel:
        table = rich.table.Table(box=rich.box.SIMPLE_HEAD, title=f"{line.rows_in:,} {line.unit}s",
                                 title_justify="left")
        for name, justify in (("outcome", "left"), ("count", "right"), ("share", "right")):
            table.add_column(name, justify=justify)                   # type: ignore[arg-type]
        for name, count in sorted(line.outcomes, key=lambda pair: (-pair[1], pair[0])):
            table.add_row(rich.markup.escape(name), f"{count:,}", f"{100 * count / line.rows_in:.1f} %")
        console.print(table)
    _print_notes(console, notes)


def _console() -> rich.console.Console:
    console = rich.console.Console()
    if not console.is_terminal:
        console.width = _WIDTH
    return console


def _print_notes(console: rich.console.Console, notes: Iterable[str]) -> None:
    for note in notes:
        console.print(f"! {note}", markup=False, highlight=False)


def image_requests(lines: Iterable[Funnel]) -> dict[str, float]:
    """Returns what judging before the download saved, {} where the funnel lacks a line for it.

    `image_urls` that the candidates name, `asked` for, `saved` requests, `kept` pairs, `saved_per_kept_pair`.

    >>> image_requests([Funnel("judge", "image URL", 9, (("fetch", 3), ("not_fetched", 6))),
    ...                 Funnel("filter", "pair", 4, (("kept", 2), ("low_score", 2)))])
    {'image_urls': 9, 'asked': 3, 'saved': 6, 'kept': 2, 'saved_per_kept_pair': 3.0}
    """
    found = {(line.stage, line.unit): line for line in lines}
    judged, pairs = found.get(("judge", "image URL")), found.get(("filter", "pair"))
    if judged is None or pairs is None:
        return {}
    asked, kept = dict(judged.outcomes).get("fetch", 0), dict(pairs.outcomes).get("kept", 0)
    saved = judged.rows_in - asked
    return {"image_urls": judged.rows_in, "asked": asked, "saved": saved, "kept": kept,
            "saved_per_kept_pair": round(saved / kept, 2) if kept else 0.0}


def outcomes_text(line: Funnel) -> str:
    """Returns the commonest outcomes as one text, the rest as a sum.

    >>> outcomes_text(Funnel("judge", "candidate row", 3, (("fetch", 2), ("not_fetched_too_few_words", 1))))
    'fetch 2, not_fetched_too_few_words 1'
    """
    ordered = sorted(line.outcomes, key=lambda pair: (-pair[1], pair[0]))
    shown = [f"{name} {count:,}" for name, count in ordered[:_REASONS_SHOWN]]
    rest = ordered[_REASONS_SHOWN:]
    if rest:
        shown.append(f"{len(rest)} more reasons {sum(count for _, count in rest):,}")
    return ", ".join(shown)
