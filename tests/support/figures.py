"""Figures of a benchmark in the documentation: generated from what was kept, so that none is copied by hand."""

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "durability.md"


def table(bench: str) -> str:
    """The kept figures of a benchmark, with their goals, and where they were seen."""
    kept = json.loads((ROOT / "loadtests" / "results" / f"{bench}.json").read_text())
    wanted = {name: f"{row['goal']}{'' if row['met'] else ' (missed)'}" for name, row in kept["goals"].items()}
    rows = [f"| {name} | {value:,.12g} | {wanted.get(name, '')} |" for name, value in kept["figures"].items()]
    seen = f"Seen on {kept['machine']}, {kept['date']}, commit {kept['commit']}:"
    return "\n".join([seen, "", "| figure | seen | goal |", "| --- | --- | --- |", *rows])


def filled(text: str, name: str, rows: str | None = None) -> str:
    """The page with `rows` in their place; default: the figures of the benchmark `name`."""
    rows = table(name) if rows is None else rows
    pattern = rf"(<!-- {name}: [^\n]*-->\n).*?(<!-- end -->)"
    return re.sub(pattern, lambda found: f"{found[1]}\n{rows}\n\n{found[2]}", text, count=1, flags=re.DOTALL)


def renew(bench: str) -> None:
    """Writes the figures into the page."""
    PAGE.write_text(filled(PAGE.read_text(), bench))
