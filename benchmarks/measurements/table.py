"""Rows of figures, and the one table they make."""

import json
import re
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

# What README shows.
README_ROWS = (
    "embedding: full size, auto (bfloat16), batch 8",
    "sonification: 1 prototype, full size, auto (bfloat16)",
    "training: head of 100 prototypes, width 768, batch 256",
    "start-up: pecmae classify CLIP",
    "memory: classify 2 h, mini",
)
README_MARK = re.compile(r"(?<=<!-- performance -->\n).*?(?=<!-- /performance -->)", re.DOTALL)

HEAD = ("what is measured", "unit", "pecmae", "reference schedule", "faster", "machine's limit", "reached")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One figure of the library, beside those of the reference schedule and of the machine, measured in the same run."""

    group: str
    what: str
    unit: str
    ours: float
    reference: float | None = None
    limit: float | None = None
    more_is_better: bool = False

    @property
    def name(self) -> str:
        """Group and what, as the tables have it."""
        return f"{self.group}: {self.what}"

    @property
    def ratio(self) -> float | None:
        """How many times faster than the reference schedule."""
        return None if self.reference is None else self._better(self.ours, self.reference)

    @property
    def reached(self) -> float | None:
        """Share of the machine's limit, 0 to 1."""
        return None if self.limit is None else self._better(self.ours, self.limit)

    def _better(self, ours: float, other: float) -> float:
        return ours / other if self.more_is_better else other / ours

    def cells(self) -> tuple[str, ...]:
        """One for each of `HEAD`."""
        ratio = "" if self.ratio is None else f"{number(self.ratio)}×"
        reached = "" if self.reached is None else f"{100 * self.reached:.0f} %"
        return (self.what, self.unit, number(self.ours), number(self.reference), ratio, number(self.limit), reached)


def number(value: float | None) -> str:
    """Three digits that mean something; nothing for None."""
    if value is None:
        return ""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}" if abs(value) >= 1 else f"{value:.2g}"


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]], words: int = 1) -> str:
    """A table whose columns are aligned: the first `words` to the left, the others to the right."""
    table = [tuple(head), *(tuple(row) for row in rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(head))]
    rule = ["-" * width if column < words else "-" * (width - 1) + ":" for column, width in enumerate(widths)]
    lines = [
        [cell.ljust(width) if column < words else cell.rjust(width) for column, (cell, width) in enumerate(cells)]
        for cells in (zip(row, widths, strict=True) for row in table)
    ]
    return "".join(f"| {' | '.join(line)} |\n" for line in [lines[0], rule, *lines[1:]])


def render(rows: Iterable[Row]) -> str:
    """The table; a group's name stands before its rows' own."""
    return markdown(HEAD, [(row.name, *row.cells()[1:]) for row in rows], words=2)


def page(rows: Sequence[Row], machine: Mapping[str, Any], checks: Mapping[str, float], command: str) -> str:
    """The table with the command that made it, the machine, and the checks that make the comparison honest."""
    facts = ", ".join(f"{name} {value}" for name, value in machine.items())
    equal = [(name, f"{value:.1e}") for name, value in checks.items()]
    return (
        f"# Performance\n\nMade by `{command}`.\nMachine: {facts}.\n\n{render(rows)}\n"
        "[Speed and memory](guide/speed.md) says what the columns mean. Like is compared with like: in float32 the library\n"
        "and the reference schedule give the same numbers. Largest difference, as a share of the largest value, and what\n"
        "rounding takes from z:\n\n"
        f"{markdown(('what', 'difference'), equal)}"
    )


def command_line() -> str:
    """How this benchmark was called, with every option."""
    return shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])


def write_json(path: Path, rows: Iterable[Row], machine: Mapping[str, Any], checks: Mapping[str, float], command: str) -> None:
    """All figures, unrounded."""
    values = [{**asdict(row), "times_faster": row.ratio, "share_of_limit": row.reached} for row in rows]
    record = {"command": command, "machine": dict(machine), "checks": dict(checks), "rows": values}
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def read_json(path: Path) -> tuple[list[Row], dict[str, float]]:
    """Rows and checks that `write_json` wrote."""
    record = json.loads(path.read_text(encoding="utf-8"))
    names = {field.name for field in fields(Row)}
    rows = [Row(**{name: value for name, value in values.items() if name in names}) for values in record["rows"]]
    return rows, record["checks"]


def put_into_readme(path: Path, rows: Iterable[Row]) -> None:
    """Replace what stands between the marks of `path` by the table of `README_ROWS`.

    Raises
    ------
    ValueError
        There are no such marks.
    """
    text = path.read_text(encoding="utf-8")
    if not README_MARK.search(text):
        raise ValueError(f"{path}: the lines <!-- performance --> and <!-- /performance --> are missing; add them.")
    table = f"\n{render(row for row in rows if row.name in README_ROWS)}\n"
    path.write_text(README_MARK.sub(lambda _: table, text), encoding="utf-8")
