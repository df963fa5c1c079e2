"""Fitting a model again from its record, and saying whether it is the same."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from pecmae.audio.preparation import Preparation
from pecmae.autoencoder.model import Autoencoder
from pecmae.core.configs import model_sha256, read_json
from pecmae.core.weights import WEIGHTS_FILE
from pecmae.data.embedding_cache import autoencoder_key
from pecmae.errors import ConfigError
from pecmae.finetuning import fit
from pecmae.prototypes.fitting import HeadFit
from pecmae.training.run_record import RUN_FILE, RunRecord
from pecmae.training.settings import TrainingSettings


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """What became of a model that was fitted again."""

    # See `RunRecord.changes`.
    changes: Mapping[str, list[str]]
    # Whether the head's weights are the same to the last bit, and by how much they differ at most.
    same: bool
    largest_difference: float
    # Class-normalised accuracy by split, before and now.
    accuracy: Mapping[str, tuple[float | None, float | None]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "changes": dict(self.changes),
            "same": self.same,
            "largest_difference": self.largest_difference,
            "accuracy": {split: list(pair) for split, pair in self.accuracy.items()},
        }


def reproduce(
    run: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    *,
    cache: str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> Reproduction:
    """Fit the model of a run again: from the same files, with the same splits, settings, seed and number of threads.

    On the same machine with the same versions the weights are the same to the last bit, unless embedding was interrupted in the
    run: then segments shared other batches, which moves z by rounding.

    Parameters
    ----------
    run : path
        Folder that `pecmae.fit` wrote.
    output : path, optional
        Folder of the new run; `run/reproduced` by default.
    cache : path, optional
        Where embeddings are kept: those of `run` are not used, unless it is named here.
    progress : bool
        Show progress bars on standard error.

    Raises
    ------
    ConfigError
        There is no record, the run was stopped early, files are gone or hold something else, the autoencoder is another
        one, or `output` holds a finished run.
    """
    run = Path(run)
    record = RunRecord.load(run)
    if record.step < record.options["settings"]["steps"]:
        raise ConfigError(f"{run}: the run was stopped after {record.step} steps; continue it to the end first.")
    changes = record.changes()
    if changes["data"]:
        others = len(changes["data"]) - 1
        more = f", and so do or are {others} others" if others else ""
        raise ConfigError(f"{run}: {changes['data'][0]}{more}; bring back the data.")
    output = run / "reproduced" if output is None else Path(output)
    if (output / RUN_FILE).exists():  # fit would go on with what is finished, and do nothing
        raise ConfigError(f"{output}: the model was fitted again there already; delete it, or choose another folder.")
    autoencoder = _autoencoder(run, record)
    threads = torch.get_num_threads()
    torch.set_num_threads(int(record.machine.get("threads", threads)))
    try:
        result = fit(record.collection(), output, autoencoder=autoencoder, cache=cache, progress=progress, **_options(record))
    finally:
        torch.set_num_threads(threads)
    before, after = (load_file(folder / "model" / WEIGHTS_FILE) for folder in (run, output))
    accuracy = read_json(run / "report.json", "fit the model again.")["class_normalised_accuracy"]
    now = result.report()["class_normalised_accuracy"]
    return Reproduction(
        changes=changes,
        same=record.model == model_sha256(output / "model"),
        largest_difference=max(float((before[name].double() - after[name].double()).abs().max()) for name in before),
        accuracy={split: (value, now.get(split)) for split, value in accuracy.items()},
    )


def _options(record: RunRecord) -> dict[str, Any]:
    options = dict(record.options)
    settings = dict(options.pop("settings"))
    settings["betas"] = tuple(settings["betas"])
    for name in ("autoencoder", "revision"):
        options.pop(name)
    return {
        **options,
        "head": HeadFit(**options.pop("head")),
        "settings": TrainingSettings(**settings),
        "preparation": Preparation(**options.pop("preparation")),
        "check": False,  # the files are the same
    }


def _autoencoder(run: Path, record: RunRecord) -> Autoencoder:
    """The autoencoder of the run, from where it was; one that was given as an object, from the model that holds it."""
    named = run / "model" / "autoencoder" if record.autoencoder_given else record.options["autoencoder"]
    found = Autoencoder.from_pretrained(named, revision=record.options["revision"], device="cpu")
    if autoencoder_key(found) != record.autoencoder:
        raise ConfigError(
            f"{run}: the autoencoder makes another z than the run's: other weights, or another precision on this machine."
        )
    return found
