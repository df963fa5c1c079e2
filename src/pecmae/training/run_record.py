"""What a fitted model was made from, in `run.json`: enough to fit it again and to say what has changed since."""

import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Self

import torch

from pecmae.core.configs import read_json
from pecmae.core.files import atomic_write, content_hash, without_nan
from pecmae.data.collection import Clip, Collection
from pecmae.errors import ConfigError

RUN_FILE = "run.json"
FORMAT_VERSION = 1
# What numbers depend on.
LIBRARIES = ("pecmae", "torch", "numpy", "scikit-learn", "scipy", "accelerate", "soundfile", "soxr", "transformers")


@dataclass(frozen=True)
class RecordedClip:
    """A clip of a run, and what its file held."""

    path: str
    label: str
    split: str
    sha256: str
    group: str | None = None


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """All that a fit depends on."""

    versions: Mapping[str, str]
    machine: Mapping[str, Any]
    command: Sequence[str]
    # Of `pecmae.fit`, by name, as plain values.
    options: Mapping[str, Any]
    data: str  # name of the collection
    clips: tuple[RecordedClip, ...]
    step: int  # optimizer steps that were done
    autoencoder: str  # a hash of all that z depends on
    autoencoder_given: bool  # as an object, so that only the model itself holds it
    model: str  # SHA-256 of the fitted head's weights

    def collection(self) -> Collection:
        """The clips with their splits, where they lay."""
        splits: dict[str, list[Clip]] = {}
        for clip in self.clips:
            splits.setdefault(clip.split, []).append(Clip(Path(clip.path), clip.label, clip.group))
        return Collection(self.data, {split: tuple(clips) for split, clips in splits.items()})

    def changes(self) -> dict[str, list[str]]:
        """What is no longer as it was: sentences under "versions", "machine" and "data"; empty where all is the same."""
        now = {"versions": installed_versions(), "machine": machine_facts()}
        before = {"versions": self.versions, "machine": self.machine}
        found = {
            name: [
                f"{key}: {before[name].get(key, 'missing')}, now {facts.get(key, 'missing')}"
                for key in sorted({*before[name], *facts})
                if before[name].get(key) != facts.get(key)
            ]
            for name, facts in now.items()
        }
        found["data"] = [
            f"{clip.path}: {'is gone' if not Path(clip.path).is_file() else 'holds something else'}"
            for clip in self.clips
            if not Path(clip.path).is_file() or content_hash(Path(clip.path)) != clip.sha256
        ]
        return found

    def save(self, directory: str | os.PathLike[str]) -> Path:
        """Write it into the folder of a run, whole or not at all; returns the file."""
        path = Path(directory) / RUN_FILE
        values = without_nan({"format_version": FORMAT_VERSION, **asdict(self)})
        with atomic_write(path) as partial:
            partial.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
        return path

    @classmethod
    def load(cls, directory: str | os.PathLike[str]) -> Self:
        """Read it from the folder of a run.

        Raises
        ------
        ConfigError
            There is none, or it is damaged or of a newer version.
        """
        path = Path(directory) / RUN_FILE
        if not path.is_file():
            raise ConfigError(f"{directory}: there is no {RUN_FILE}, which fitting leaves there; give the folder of a run.")
        advice = "fit the model again."
        values = read_json(path, advice)
        try:
            if values.pop("format_version") > FORMAT_VERSION:
                raise ConfigError(f"{path}: written by a newer pecmae; upgrade it.")
            clips = tuple(RecordedClip(**clip) for clip in values.pop("clips"))
            return cls(clips=clips, **values)
        except (KeyError, TypeError, AttributeError) as error:
            raise ConfigError(f"{path}: cannot be read ({error}); {advice}") from None


def recorded_clips(collection: Collection) -> tuple[RecordedClip, ...]:
    """The clips of a collection, with absolute paths and hashes of their content."""
    return tuple(
        RecordedClip(os.path.abspath(clip.path), clip.label, split, content_hash(clip.path), clip.group)  # noqa: PTH100
        for split, clips in collection.splits.items()
        for clip in clips
    )


def installed_versions() -> dict[str, str]:
    """Of Python and of the libraries that numbers depend on; those that are installed."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def machine_facts() -> dict[str, Any]:
    """What the last bits of a sum depend on: the processor, and how many threads share the work."""
    capability = torch.backends.cpu.get_cpu_capability()
    return {
        "system": platform.system(),
        "architecture": platform.machine(),
        "cpu": capability,
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def command_line() -> list[str]:
    """How this process was started."""
    return [Path(sys.argv[0]).name, *sys.argv[1:]] if sys.argv else []
