"""What the package does with hundreds of damaged and crafted files: it reads them or says what is wrong, and nothing else.

    python benchmarks/fuzz.py [--audio 960] [--models 300] [--tables 90] [--seed 0] [--output FILE]

Every file is read as a user would read it: audio through `audio_duration`, `iter_segments`, `predict` and `embed`, model
directories through `from_pretrained`, `predict`, `embed` and `sonify`, lists of files through `load_collection`. Prints a
summary as JSON and ends with status 1 where anything but a result or one of the package's own errors came back, where the
interpreter died, or where a file took more than 20 s of the processor or 2 GB (of the whole process). `--keep DIR` keeps the
files that did not do well. Linux only: memory is read from /proc.
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from hostile.audio import audio_cases
from hostile.cases import Case
from hostile.models import model_cases, table_cases
from hostile.trials import MEGABYTES, SECONDS, Outcome, Trials


def all_cases(folder: Path, counts: dict[str, int], seed: int) -> Iterator[Case]:
    """Every kind, written while it is asked for."""
    return chain(
        audio_cases(folder / "audio", counts["audio"], seed),
        model_cases(folder / "models", counts["model"], seed),
        table_cases(folder / "tables", counts["table"], seed),
    )


def run(cases: Iterable[Case], keep: Path | None, total: int) -> list[Outcome]:
    """Outcomes of all cases; what did well is removed at once."""
    found = []
    with Trials() as trials:
        for case in tqdm(cases, total=total, mininterval=5):
            outcome = trials.run(case)
            if keep is not None and not outcome.well:
                target = keep / f"{case.kind}-{case.path.name}"
                (shutil.copytree if case.path.is_dir() else shutil.copy)(case.path, target)
            if case.path.is_dir():
                shutil.rmtree(case.path)
            else:
                case.path.unlink()
            found.append(outcome)
    return found


def summary(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Counts by kind and verdict, the slowest and the largest, and each that did not do well."""
    kinds = sorted({outcome.case.kind for outcome in outcomes})
    return {
        "cases": {
            kind: dict(sorted(Counter(outcome.verdict for outcome in outcomes if outcome.case.kind == kind).items()))
            for kind in kinds
        },
        "limits": {"seconds": SECONDS, "megabytes": MEGABYTES},
        "slowest_seconds": round(max(outcome.seconds for outcome in outcomes), 2),
        "largest_megabytes": round(max(outcome.megabytes for outcome in outcomes)),
        "failures": [
            {
                "kind": outcome.case.kind,
                "file": outcome.case.path.name,
                "how": outcome.case.how,
                "verdict": outcome.verdict,
                "message": outcome.message,
                "seconds": round(outcome.seconds, 2),
            }
            for outcome in outcomes
            if not outcome.well
        ],
    }


def make_parser() -> argparse.ArgumentParser:
    """Options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--audio", type=int, default=960, metavar="N", help="audio files (default: 960)")
    parser.add_argument("--models", type=int, default=300, metavar="N", help="model directories (default: 300)")
    parser.add_argument("--tables", type=int, default=90, metavar="N", help="lists of files (default: 90)")
    parser.add_argument("--seed", type=int, default=0, help="of everything that is random (default: 0)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="new folder for the files that did not do well")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the summary here, too")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Write, read, tell."""
    args = make_parser().parse_args(argv)
    if args.keep is not None:
        args.keep.mkdir(parents=True)
    counts = {"audio": args.audio, "model": args.models, "table": args.tables}
    with tempfile.TemporaryDirectory() as folder:
        found = summary(run(all_cases(Path(folder), counts, args.seed), args.keep, sum(counts.values())))
    text = json.dumps(found, indent=1, ensure_ascii=False)
    print(text)
    if args.output is not None:
        args.output.write_text(text + "\n", encoding="utf-8")
    sys.exit(1 if found["failures"] else 0)


if __name__ == "__main__":
    main()
