"""Rules that are switched off by the reason they give: `--set captions.let_pass='["spam_words"]'`."""
from __future__ import annotations

from collections.abc import Iterable


def check_reasons(let_pass: Iterable[str], known: Iterable[str]) -> None:
    """Raises ValueError for a reason that no rule of the group gives: nothing would be let pass by it."""
    unknown = sorted(set(let_pass) - set(known))
    if unknown:
        raise ValueError(f"let_pass names {', '.join(map(repr, unknown))}; the rules here give {', '.join(known)}")
