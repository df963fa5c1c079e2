"""Results of rows on disk, so that a run that was stopped goes on, and as a table."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from pecmae.core.configs import read_json
from pecmae.core.files import atomic_write, write_json
from pecmae.data.collection import Collection
from pecmae.errors import ConfigError
from table2.rows import Choices

# Table 2 of the paper: class-normalised accuracy in %, of each row on each data set.
PAPER = {
    "APNet-5": {"gtzan": 87.4, "medley-solos-db": 65.8},
    "MLP on MAEST": {"gtzan": 95.6},
    "MLP on ECMAE": {"gtzan": 85.7, "medley-solos-db": 75.7},
    "MLP on ECMAE-S": {"gtzan": 85.9, "medley-solos-db": 72.1},
    "PECMAE-NA-5": {"gtzan": 81.8, "medley-solos-db": 66.8},
    "PECMAE-1": {"gtzan": 80.8, "medley-solos-db": 63.9},
    "PECMAE-3": {"gtzan": 82.8, "medley-solos-db": 67.6},
    "PECMAE-5": {"gtzan": 83.8, "medley-solos-db": 70.2},
    "PECMAE-10": {"gtzan": 86.9, "medley-solos-db": 71.1},
    "PECMAE-20": {"gtzan": 85.9, "medley-solos-db": 69.2},
    "PECMAE-40": {"gtzan": 85.7, "medley-solos-db": 71.3},
}


def facts(collection: Collection, autoencoder: str, choices: Choices) -> dict[str, Any]:
    """What all rows of a table must share: data, autoencoder and choices, as plain values."""
    head, settings = asdict(choices.head), asdict(choices.settings)
    # Rows and seeds decide these.
    for name in ("prototypes_per_class", "adaptor"):
        head.pop(name)
    apnet = {**asdict(choices.apnet), "channels": choices.apnet_channels}
    for values in (settings, apnet):
        values.pop("seed")
    shared = {
        "data": collection.name,
        "clips": {split: len(clips) for split, clips in collection.splits.items()},
        "labels": list(collection.labels),
        "autoencoder": autoencoder,
        "head": head,
        "settings": settings,
        "initialisation": choices.initialisation,
        "preparation": asdict(choices.preparation),
        "apnet": apnet,
    }
    return dict(json.loads(json.dumps(shared)))  # as it will be read again: no tuples


class Results:
    """What was measured so far: row → seed → outcome, written after each.

    Parameters
    ----------
    path : path
        JSON; continued where it exists.
    shared : mapping
        What `facts` says.

    Raises
    ------
    ConfigError
        The file holds a table of other data or choices.
    """

    def __init__(self, path: Path, shared: Mapping[str, Any]) -> None:
        self.path, self.shared = path, dict(shared)
        self.rows: dict[str, dict[str, Any]] = {}
        if path.is_file():
            found = read_json(path, "remove it, or choose another folder")
            if differing := sorted(name for name in self.shared if found.get("shared", {}).get(name) != self.shared[name]):
                raise ConfigError(f"{path}: holds a table of another kind ({', '.join(differing)}); choose another folder.")
            self.rows = found["rows"]

    def has(self, row: str, seed: int) -> bool:
        """Whether a row was measured with a seed."""
        return str(seed) in self.rows.get(row, {})

    def add(self, row: str, seed: int, outcome: Mapping[str, Any]) -> None:
        """Take up an outcome and write all to disk."""
        self.rows.setdefault(row, {})[str(seed)] = dict(outcome)
        with atomic_write(self.path) as temporary:
            write_json(temporary, {"shared": self.shared, "rows": self.rows})


def mean_and_half_width(values: list[float]) -> tuple[float, float | None]:
    """Mean, and half the 95 % interval of it by Student's t over the seeds; None for a single one."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, None
    return mean, float(stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))


def markdown(rows: Mapping[str, Mapping[str, Any]], dataset: str | None = None) -> str:
    """The table, in the order of the rows.

    Parameters
    ----------
    rows : mapping
        As in `Results.rows`.
    dataset : str, optional
        A data set of the paper, whose figures are put beside.
    """
    header = ["model", "parameters", "accuracy (%)", "± over seeds", "seeds", "seconds to fit"]
    lines = [header + ([f"paper on {dataset} (%)"] if dataset else [])]
    lines.append(["---"] + ["---:"] * (len(lines[0]) - 1))
    for name, runs in rows.items():
        mean, half = mean_and_half_width([100 * run["accuracy"] for run in runs.values()])
        first = next(iter(runs.values()))
        seconds = float(np.mean([run["seconds"] for run in runs.values()]))
        # One seed says nothing of others; the clips that were drawn are in the JSON.
        cells = [name, f"{first['parameters']:,}", f"{mean:.1f}", "" if half is None else f"{half:.1f}", str(len(runs))]
        paper = PAPER.get(name, {}).get(dataset or "")
        lines.append([*cells, f"{seconds:.0f}", *(["–" if paper is None else f"{paper:.1f}"] if dataset else [])])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
