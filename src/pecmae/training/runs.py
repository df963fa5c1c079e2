"""The folder of a training run: its settings, its whole checkpoints, its curves.

A checkpoint is written under a temporary name and renamed, so one that carries its final name is whole.
"""

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pecmae.core.configs import read_json
from pecmae.core.files import synchronise, write_json
from pecmae.core.locks import locked_folder
from pecmae.errors import CheckpointError, ConfigError

FORMAT_VERSION = 1
_FREE_SETTINGS = {"checkpoint_every", "log_every", "keep_checkpoints"}  # may change between a run and its continuation
_NO_LOSSES = {"step", "learning_rate", "seconds"}  # what a point of the history holds beside losses


@contextmanager
def locked(output: str | os.PathLike[str] | None, accelerator: Accelerator) -> Iterator[None]:
    """Keep other runs out of an output folder (None: there is none), which is made; the system lets go of it with the process.

    A process may lock a folder again that it has locked. Of several processes of one run the first does it for all.

    Raises
    ------
    ConfigError
        Another run is using the folder.
    """
    if output is None or not accelerator.is_main_process:
        yield
        return
    with locked_folder(output):
        yield


class MovingAverage:
    """Exponential moving average of the trainable parameters of a module (a shorter memory in the first steps)."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.average = {n: p.detach().clone() for n, p in module.named_parameters() if p.requires_grad}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Move the average towards the module's weights; `step` counts from 0."""
        parameters = dict(module.named_parameters())
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.average.values()), [parameters[n] for n in self.average], 1 - decay)

    @torch.no_grad()
    def copy_to(self, module: nn.Module) -> None:
        """Replace the module's trainable weights by the average."""
        parameters = dict(module.named_parameters())
        for name, value in self.average.items():
            parameters[name].copy_(value)


class Checkpoints:
    """The folder of a run: settings.json, history.json and the last whole checkpoints."""

    def __init__(self, output: Path, description: Mapping[str, Any], keep: int) -> None:
        self.output, self.keep = output, keep
        self.description = {"format_version": FORMAT_VERSION, **description}
        self.folder = output / "checkpoints"

    def prepare(self) -> None:
        """Record the settings, or refuse to continue a run that had others."""
        path = self.output / "settings.json"
        wanted = json.loads(json.dumps(self.description))
        if self.newest() is not None and path.exists():
            before = read_json(path, "delete it to continue the run without a look at its settings.")
            old, new = _flatten(before), _flatten(wanted)
            different = {key for key in old.keys() | new.keys() if old.get(key) != new.get(key)}
            changed = sorted(key for key in different if key.split(".")[-1] not in _FREE_SETTINGS)
            if changed:
                raise ConfigError(
                    f"{self.output}: the run there had other settings ({', '.join(changed)}); "
                    "use the same ones to continue it, or another output folder."
                )
        self.folder.mkdir(parents=True, exist_ok=True)
        for leftover in self.folder.glob("*.partial"):  # a save that was cut off
            shutil.rmtree(leftover)
        write_json(path, wanted)

    def newest(self) -> Path | None:
        """The last whole checkpoint, None before the first."""
        found = [p for p in self.folder.glob("step_*") if re.fullmatch(r"step_\d+", p.name)]
        return max(found, key=lambda p: int(p.name.removeprefix("step_")), default=None)

    def save(self, accelerator: Accelerator, step: int, ema: MovingAverage | None, seconds: float) -> None:
        """Write under a temporary name, then rename: a checkpoint with its final name is whole."""
        target, partial = self.folder / f"step_{step}", self.folder / f"step_{step}.partial"
        if target.exists():
            return
        try:
            self._write(accelerator, partial, step, ema, seconds)
        except (OSError, RuntimeError, SafetensorError) as error:
            shutil.rmtree(partial, ignore_errors=True)
            reason = " ".join(str(error).split())
            raise CheckpointError(
                f"{target}: the checkpoint cannot be written ({reason}); make room there and run the same command again, which "
                "continues from the one before."
            ) from error
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            for path in partial.rglob("*"):
                synchronise(path)
            partial.replace(target)
            synchronise(self.folder)
            numbered = sorted(self.folder.glob("step_*"), key=lambda p: int(p.name.removeprefix("step_")))
            for old in numbered[: -self.keep]:
                shutil.rmtree(old)
        accelerator.wait_for_everyone()

    def _write(self, accelerator: Accelerator, folder: Path, step: int, ema: MovingAverage | None, seconds: float) -> None:
        """Each process its part, the first what all share."""
        accelerator.save_state(str(folder))
        if accelerator.is_main_process:
            if ema is not None:
                save_file(ema.average, folder / "ema.safetensors")
            write_json(folder / "progress.json", {"step": step, "seconds": seconds})

    def load(self, accelerator: Accelerator, ema: MovingAverage | None) -> tuple[int, float]:
        """Continue from the newest checkpoint; returns its step and the seconds spent so far (0, 0 for a new run)."""
        newest = self.newest()
        if newest is None:
            return 0, 0.0
        try:
            accelerator.load_state(str(newest))
            if ema is not None:
                # Not loaded onto the device: "cpu:0", the name it has for one of several processes, is none to safetensors.
                stored = load_file(newest / "ema.safetensors")
                ema.average = {name: stored[name].to(accelerator.device) for name in ema.average}
            progress = read_json(newest / "progress.json", "delete this folder.")
        except (OSError, KeyError, ValueError, RuntimeError, SafetensorError) as error:
            raise CheckpointError(f"{newest}: the checkpoint cannot be read ({error}); delete this folder.") from error
        return progress["step"], progress["seconds"]


def start_from(module: nn.Module, run: Path) -> dict[str, str]:
    """Give the trainable parameters of `module` the last weights of another run, its moving average where it keeps one.

    Parameters
    ----------
    module : nn.Module
        What is going to be trained. Its frozen parts stay: they may be others than that run had.
    run : Path
        Output folder of a run of the same script.

    Returns
    -------
    dict
        What a continued run must share with this one, for its description.

    Raises
    ------
    ConfigError
        When the folder holds no run, or one of other sizes.
    """
    newest = Checkpoints(run, {}, 1).newest()
    if newest is None:
        raise ConfigError(f"{run}: no checkpoint of a run there to start from.")
    stored = load_file(newest / "model.safetensors")
    if (newest / "ema.safetensors").exists():
        stored |= load_file(newest / "ema.safetensors")
    digest = sha256()
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if not parameter.requires_grad:
                continue
            if name not in stored or stored[name].shape != parameter.shape:
                raise ConfigError(
                    f"{run}: the run there trained a network of other sizes ({name} differs); use the same preset."
                )
            parameter.copy_(stored[name])
            digest.update(stored[name].reshape(-1).view(torch.uint8).numpy().tobytes())
    return {"start_from": digest.hexdigest()[:16]}


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


class History:
    """Curves of a run: averages over windows of steps."""

    def __init__(self, path: Path | None, step: int) -> None:
        self.path = path
        points = []
        if path is not None and path.exists():
            points = read_json(path, "delete it to continue the run with a new curve.")
        self.points = [p for p in points if p["step"] <= step]  # a run may restart before its last logged point
        self.window: list[dict[str, Tensor]] = []

    def log(self, step: int, learning_rate: float, seconds: float) -> dict[str, float]:
        """Close the window and append its averages."""
        names = self.window[0].keys()
        losses = {n: float(torch.stack([losses[n].float() for losses in self.window]).mean()) for n in names}
        self.window = []
        self.points.append({"step": step, **losses, "learning_rate": learning_rate, "seconds": round(seconds, 1)})
        return losses

    def last(self) -> dict[str, float]:
        """Averages of the last window; none before the first."""
        return {name: value for name, value in (self.points or [{}])[-1].items() if name not in _NO_LOSSES}

    def write(self) -> None:
        """Write history.json."""
        if self.path is not None:
            write_json(self.path, self.points)


def how_to_go_on(output: Path) -> str:
    """What to say when a run was interrupted: how much of it is stored, and how to continue."""
    newest = Checkpoints(output, {}, 1).newest()
    done = f"{newest.name.removeprefix('step_')} steps are stored" if newest is not None else "no step is stored yet"
    return f"Interrupted: {done} in {output}; give the same command again to go on from there."
