"""`pecmae doctor`: what is installed, what the machine computes in and how fast, and what is kept on the disk."""

import platform
import time
from collections.abc import Iterator
from importlib import metadata, util
from pathlib import Path
from typing import Annotated, Any

import typer

from pecmae.cli import console

LIBRARIES = ("torch", "numpy", "diffusers", "huggingface_hub", "safetensors", "soundfile", "soxr", "scikit-learn")
# Extra → a module that it brings.
EXTRAS = {
    "train": "accelerate",
    "plot": "matplotlib",
    "media": "av",
    "catalogue": "pyarrow",
    "app": "starlette",
    "onnx": "onnxscript",
    "docs": "mkdocs",
    "encodec": "encodec",
}
SECONDS = 20.0  # of noise that are embedded to measure the speed
REPEATS = 3


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False) -> None:
    """Say what is installed, how fast, and what is kept.

    Versions, the device and the precision that is chosen, seconds of audio a second on this machine, extras, caches.
    """
    with console.spinner("measuring"):
        facts = examine()
    console.deliver(console.as_json(facts) if as_json else _as_text(facts), None)


def examine() -> dict[str, Any]:
    """What `pecmae doctor` says, as plain values."""
    import torch

    from pecmae import __version__
    from pecmae.core.devices import pick_device
    from pecmae.model import PECMAE

    device = pick_device(None)
    model = PECMAE.from_pretrained(device=device)
    return {
        "versions": {"pecmae": __version__, "python": platform.python_version(), **_versions()},
        "machine": f"{platform.system()} {platform.machine()}, {torch.get_num_threads()} threads",
        "device": str(device) if device.type == "cpu" else f"{device} ({torch.cuda.get_device_name(device)})",
        "precision": str(next(model.autoencoder.encodecmae.parameters()).dtype).removeprefix("torch."),
        "audio_seconds_per_second": round(_speed(model), 1),
        "extras": {name: util.find_spec(module) is not None for name, module in EXTRAS.items()},
        "caches": [{"folder": str(folder), "megabytes": round(size / 1e6, 1)} for folder, size in _caches()],
    }


def _versions() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "missing"
    return found


def _speed(model: Any) -> float:
    """Seconds of audio that are embedded in a second by the embedded model: the best of a few turns."""
    import numpy as np

    noise = np.random.default_rng(0).normal(0, 0.1, round(SECONDS * model.sampling_rate)).astype(np.float32)
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        model.embed(noise, sampling_rate=model.sampling_rate)
        times.append(time.perf_counter() - start)
    return SECONDS / min(times)


def _caches() -> Iterator[tuple[Path, int]]:
    """Folders that pecmae fills, and their sizes in bytes; those that exist."""
    from pecmae.core.files import cache_root

    root = cache_root()
    for folder in (root.parent / "hub", *(sorted(root.iterdir()) if root.is_dir() else ())):
        if folder.is_dir():
            yield folder, sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def _as_text(facts: dict[str, Any]) -> str:
    lines = [f"{name:<18}{version}" for name, version in facts["versions"].items()]
    lines += ["", f"{'machine':<18}{facts['machine']}", f"{'device':<18}{facts['device']}"]
    lines += [f"{'precision':<18}{facts['precision']} (what --dtype auto chooses)"]
    lines += [f"{'speed':<18}{facts['audio_seconds_per_second']:g} s of audio a second, embedded by pecmae-mini", ""]
    for name, there in facts["extras"].items():
        state = "installed" if there else f"missing: pip install 'pecmae[{name}]'"
        lines.append(f"{'extra ' + name:<18}{state}")
    lines += ["", *(f"{'cache':<18}{cache['megabytes']:.1f} MB in {cache['folder']}" for cache in facts["caches"])]
    return "\n".join(lines).rstrip() + "\n"
