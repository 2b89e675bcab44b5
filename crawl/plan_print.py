"""Shows a person what a run would do: the plans of `--dry-run`, as tables or as JSON."""
from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable

import rich.box
import rich.console
import rich.markup
import rich.table

from crawl.plan import HOSTS_SHOWN, Plan
from crawl.progress import shown_text

_WIDTH = 140                       # where standard output is no terminal


def print_plans(plans: Iterable[Plan], as_json: bool) -> None:
    """Prints plans; hostile text in URLs is escaped (S14)."""
    if as_json:
        print(json.dumps({"plans": [dataclasses.asdict(plan) | {"to_fetch": plan.to_fetch} for plan in plans]},
                         indent=1))
        return
    console = rich.console.Console()
    if not console.is_terminal:
        console.width = _WIDTH
    for plan in plans:
        _print(console, plan)
    console.print("dry run: nobody was asked and nothing was written")


def _print(console: rich.console.Console, plan: Plan) -> None:
    console.print(f"{plan.stage}: {plan.what}", markup=False, highlight=False)
    if plan.reasons:
        table = rich.table.Table(box=rich.box.SIMPLE_HEAD)
        for name, justify in (("what would become of a URL", "left"), ("URLs", "right"), ("such as", "left")):
            table.add_column(name, justify=justify, overflow="fold")      # type: ignore[arg-type]
        for reason in plan.reasons:
            table.add_row(reason.name, f"{reason.count:,}", rich.markup.escape(shown_text(" ".join(reason.examples))))
        console.print(table)
    if plan.hosts:
        console.print(f"at least {duration(plan.lower_bound_s)}, set by the slowest host; the {HOSTS_SHOWN} slowest:",
                      markup=False, highlight=False)
        table = rich.table.Table(box=rich.box.SIMPLE_HEAD)
        for name, justify in (("host", "left"), ("requests", "right"), ("pause", "right"), ("at least", "right")):
            table.add_column(name, justify=justify)                       # type: ignore[arg-type]
        for host in plan.hosts:
            table.add_row(rich.markup.escape(shown_text(host.host)), f"{host.requests:,}", f"{host.delay_s:g} s",
                          duration(host.seconds))
        console.print(table)
    if plan.beyond_budget:
        console.print(f"! {plan.beyond_budget:,} requests do not fit into fetch.shard_seconds and would be put off",
                      markup=False, highlight=False)
    for note in plan.notes:
        console.print(f"! {note}", markup=False, highlight=False)


def duration(seconds: float) -> str:
    """Returns seconds as a person says them.

    >>> duration(12.3), duration(200), duration(90_000)
    ('12.3 s', '3 min 20 s', '1 d 1 h')
    """
    if seconds < 120:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    parts = [(whole // 86_400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "min"), (whole % 60, "s")]
    first = next(place for place, (count, _) in enumerate(parts) if count)
    return " ".join(f"{count} {unit}" for count, unit in parts[first:first + 2] if count)
