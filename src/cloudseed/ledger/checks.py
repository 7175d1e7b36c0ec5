"""The invariants, each a pure function: a picture of the cloud in, violations out.

They lie in one file a subject (`rules/`).  Transient states count only past their deadline, and what an open
operation works on is left to it, so that an audit of a busy cloud is not full of what is merely under way.  A
picture is no single moment, though: services are asked one after the other.  `standing` keeps what two pictures
agree on.
"""

from __future__ import annotations

from cloudseed.ledger import rules  # noqa: F401 - its modules register their rules
from cloudseed.ledger.violations import RULES, Picture, Violation, broken

__all__ = ["Picture", "Violation", "check", "counts", "standing"]


def check(picture: Picture) -> list[Violation]:
    """Every violation in the picture, in the order of the rules."""
    return [violation for rule in RULES for violation in broken(rule, picture)]


def standing(first: Picture, second: Picture) -> list[Violation]:
    """The violations that the later picture still has: not those of things that were changing during the first."""
    before = {(violation.rule, violation.subject) for violation in check(first)}
    return [violation for violation in check(second) if (violation.rule, violation.subject) in before]


def counts(picture: Picture) -> dict[str, int]:
    """How many things of each kind were looked at."""
    counts: dict[str, int] = {}
    parts = [*sorted((name, held) for name, held in picture.items() if isinstance(held, dict)),
             *(("host", held) for held in picture.get("hosts", ()))]
    for service, held in parts:
        for name, items in sorted(held.items()):
            if isinstance(items, list | dict):
                counts[f"{service} {name}"] = counts.get(f"{service} {name}", 0) + len(items)
    if "hosts" in picture:
        counts["hosts"] = len(picture["hosts"])
    return counts
