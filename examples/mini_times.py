"""How long the console takes with a model, and how large a wheel with it is."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

import pecmae
from pecmae.audio import load_audio, write_audio
from pecmae.zoo import embedded_directory

REPEATS = 3
RATE = 24_000
# A clip so short that classifying it is start-up and little else.
SHORT_SECONDS = 0.5
PROGRAM = "from pecmae.cli import main; main()"


def console_times(model: Path, label: str, clip: Path) -> dict[str, float]:
    """Median seconds of sonifying a class and of classifying a clip, each by a console command of its own.

    Parameters
    ----------
    model : Path
        Model directory.
    label : str
        The class to sonify.
    clip : Path
        What to classify.
    """
    with tempfile.TemporaryDirectory() as folder:
        short = Path(folder) / "short.wav"
        write_audio(short, load_audio(clip, target_rate=RATE)[: round(SHORT_SECONDS * RATE)], RATE)
        sonify = _median(["sonify", "--class", label, "--model", str(model), "--output", str(Path(folder) / "sounds")])
        whole, start = (_median(["classify", str(path), "--model", str(model), "--json"]) for path in (clip, short))
    return {
        "sonify_seconds": sonify,
        "classify_total_seconds": whole,
        "classify_seconds": max(0.0, whole - start),
        "cores": os.cpu_count() or 1,
    }


def _median(arguments: list[str]) -> float:
    """Median seconds of a console command with all cores."""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    seconds = []
    for _ in range(REPEATS):
        started = time.monotonic()
        command = [sys.executable, "-c", PROGRAM, *arguments]
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        seconds.append(time.monotonic() - started)
    return statistics.median(seconds)


def wheel_megabytes(model: Path) -> float:
    """Compressed size of the package with a model directory inside, as a wheel holds it, in 10⁶ bytes."""
    package, embedded = Path(pecmae.__file__).parent, embedded_directory()
    own = [path for path in package.rglob("*") if "__pycache__" not in path.parts and embedded not in path.parents]
    files = [path for path in (*own, *model.rglob("*")) if path.is_file()]
    return round(sum(len(zlib.compress(path.read_bytes())) for path in files) / 1e6, 2)
