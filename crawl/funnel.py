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
    console = rich.console.Console()
    if not console.is_terminal:
        console.width = _WIDTH
    console.print(table)
    for note in notes:
        console.print(f"! {note}", markup=False, highlight=False)


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
