"""How fast pecmae is on this machine, beside the published algorithm's schedule and beside what the machine can do at most.

    python benchmarks/run.py [--only embedding sonification] [--quick] [--markdown docs/performance.md] [--output figures.json]

Prints one table. Every figure is measured in turn with those beside it, and medians are taken, so that the ratios hold on a
machine that is used by others too. Before anything is timed, the library's results in float32 are compared with the
reference schedule's.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from measurements.compiling import compile_rows
from measurements.editing import CONFIG, TRACKS, editing_rows
from measurements.embedding import embedding_rows, part_rows
from measurements.processes import allocator_rows, memory_rows, startup_rows
from measurements.products import encoder_products, gemm_rates
from measurements.profiling import profiles
from measurements.scaling import batch_rows, duration_rows, prototype_rows, thread_rows
from measurements.sonification import sonification_rows
from measurements.subjects import Subjects, check_against_reference, rounding
from measurements.table import Row, command_line, page, put_into_readme, read_json, render, write_json
from measurements.training import Sizes, check_training, training_rows
from pecmae import AutoencoderConfig


@dataclass(frozen=True)
class Run:
    """What the groups need."""

    subjects: Subjects
    folder: Path
    quick: bool

    def pick(self, quick: int, full: int) -> int:
        """Rounds or sizes of the run at hand."""
        return quick if self.quick else full


def embedding(run: Run) -> list[Row]:
    """Embedding throughput, and the parts that it and sonification are made of."""
    batches = (1, 4) if run.quick else (1, 8)
    full, mini, rounds = run.subjects.full, run.subjects.mini, run.pick(1, 5)
    rows = embedding_rows(full, batches, list(full.models), rounds)
    rows += embedding_rows(mini, (1, 16), list(mini.models), run.pick(2, 7))
    return rows + part_rows(full, run.pick(2, 8), rounds) + part_rows(mini, run.pick(8, 16), run.pick(2, 7))


def sonification(run: Run) -> list[Row]:
    """Default settings, one prototype and twenty."""
    full, mini = run.subjects.full, run.subjects.mini
    rows = sonification_rows(full, (1,), (full.fastest,) if run.quick else tuple(full.models), run.pick(1, 2))
    if not run.quick:
        rows += sonification_rows(full, (20,), (full.fastest,), 1)
    return rows + sonification_rows(mini, (1, 20), tuple(mini.models), run.pick(1, 5))


def training(run: Run) -> list[Row]:
    """Fitting a head of the full width."""
    return training_rows(Sizes(), steps=run.pick(50, 60), rounds=run.pick(1, 9))


def editing(run: Run) -> list[Row]:
    """Effects of edits, before they are done."""
    return editing_rows(CONFIG, run.pick(200, TRACKS), run.pick(1, 7))


def startup(run: Run) -> list[Row]:
    """Every console command."""
    return startup_rows(run.folder, run.pick(1, 3))


def memory(run: Run) -> list[Row]:
    """Of classifying, by duration."""
    rows = memory_rows(run.subjects.mini, (1, 10) if run.quick else (1, 10, 120), run.folder)
    rows += allocator_rows(run.subjects.mini, run.pick(1, 20), run.folder, run.pick(1, 5))
    return rows if run.quick else rows + memory_rows(run.subjects.full, (1, 5), run.folder)


def scaling(run: Run) -> list[Row]:
    """With threads, batch, duration and number of prototypes."""
    full, mini, rounds = run.subjects.full, run.subjects.mini, run.pick(1, 2)
    cores = sorted({1, torch.get_num_threads()})
    rows = thread_rows(mini if run.quick else full, cores, 2, rounds)
    rows += batch_rows(mini if run.quick else full, (1, 2, 4) if run.quick else (1, 2, 4, 8, 16), rounds)
    rows += duration_rows(mini, (4, 30) if run.quick else (4, 30, 300), rounds)
    return rows + prototype_rows(mini, (1, 5) if run.quick else (1, 5, 20), rounds)


def compiling(run: Run) -> list[Row]:
    """`torch.compile`, which needs a C++ compiler."""
    rows = compile_rows(run.subjects.mini, run.pick(2, 8), run.pick(2, 7))
    return rows if run.quick else rows + compile_rows(run.subjects.full, 8, 3)


GROUPS: dict[str, Callable[[Run], list[Row]]] = {
    "embedding": embedding,
    "sonification": sonification,
    "training": training,
    "editing": editing,
    "startup": startup,
    "memory": memory,
    "scaling": scaling,
    "compiling": compiling,
}


def check(subjects: Subjects, groups: list[str]) -> dict[str, float]:
    """Compare results before their times are compared."""
    checks: dict[str, float] = {}
    if {"embedding", "sonification", "scaling"} & set(groups):
        for subject in (subjects.full, subjects.mini):
            checks |= check_against_reference(subject) | rounding(subject)
    return checks | (check_training(Sizes()) if "training" in groups else {})


def machine() -> dict[str, str]:
    """What the figures belong to."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        model = next((line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line), model)
    rates = gemm_rates(encoder_products(AutoencoderConfig(), 4), 3)
    return {
        "processor": model,
        "cores": str(os.cpu_count()),
        "threads": str(torch.get_num_threads()),
        "torch": torch.__version__,
        **{f"GEMM {name}": f"{rate:.0f} GFLOP/s" for name, rate in rates.items()},
    }


def arguments() -> argparse.Namespace:
    """Of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", nargs="+", choices=list(GROUPS), default=list(GROUPS), help="groups to measure (default: all)"
    )
    parser.add_argument("--quick", action="store_true", help="fewer and smaller cases, about a minute")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of torch (default: one a core)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the figures as JSON")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table as a page")
    parser.add_argument("--readme", type=Path, metavar="FILE", help="put the main rows between this file's performance marks")
    parser.add_argument("--profile", action="store_true", help="print the most expensive operators instead")
    return parser.parse_args()


def apart(args: argparse.Namespace, folder: Path) -> tuple[list[Row], dict[str, float]]:
    """Rows and checks of several groups, each in a process of its own: what one leaves in memory does not reach the next."""
    rows: list[Row] = []
    checks: dict[str, float] = {}
    for name in args.only:
        path = folder / f"{name}.json"
        command = [sys.executable, __file__, "--only", name, "--threads", str(args.threads), "--output", str(path)]
        subprocess.run(command + ["--quick"] * args.quick, check=True, stdout=subprocess.DEVNULL)
        found, differences = read_json(path)
        rows += found
        checks |= differences
    return rows, checks


def main() -> None:
    """Measure, print, write."""
    args = arguments()
    torch.set_num_threads(args.threads)
    subjects = Subjects()
    if args.profile:
        print(profiles(subjects.full, batch=2 if args.quick else 8))
        return
    facts = machine()
    with tempfile.TemporaryDirectory(prefix="pecmae-benchmark-") as folder:
        if len(args.only) > 1:
            rows, checks = apart(args, Path(folder))
        else:
            (name,) = args.only
            print(f"measuring {name} …", file=sys.stderr, flush=True)
            checks = check(subjects, args.only)
            rows = GROUPS[name](Run(subjects, Path(folder), args.quick))
    print(render(rows))
    if args.output:
        write_json(args.output, rows, facts, checks, command_line())
    if args.markdown:
        args.markdown.write_text(page(rows, facts, checks, command_line()), encoding="utf-8")
    if args.readme:
        put_into_readme(args.readme, rows)


if __name__ == "__main__":
    main()
