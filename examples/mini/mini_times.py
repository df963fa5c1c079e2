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
from pecmae.audio.segments import load_audio, write_audio

REPEATS = 5
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
        commands = {
            "sonify": ["sonify", "--class", label, "--model", str(model), "--output", str(Path(folder) / "sounds")],
            "whole": ["classify", str(clip), "--model", str(model), "--json"],
            "start": ["classify", str(short), "--model", str(model), "--json"],
        }
        # In turn, so that a machine that is slower for a while is so for all of them.
        turns = [{name: _seconds(arguments) for name, arguments in commands.items()} for _ in range(REPEATS)]
    return {
        "sonify_seconds": statistics.median(turn["sonify"] for turn in turns),
        "classify_total_seconds": statistics.median(turn["whole"] for turn in turns),
        "classify_seconds": max(0.0, statistics.median(turn["whole"] - turn["start"] for turn in turns)),
        "cores": os.cpu_count() or 1,
    }


def _seconds(arguments: list[str]) -> float:
    """Seconds of a console command with all cores."""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    started = time.monotonic()
    command = [sys.executable, "-c", PROGRAM, *arguments]
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.monotonic() - started


def wheel_megabytes() -> float:
    """Compressed size of the package with its models inside, as a wheel holds it, in 10⁶ bytes."""
    package = Path(pecmae.__file__).parent
    files = [path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return round(sum(len(zlib.compress(path.read_bytes())) for path in files) / 1e6, 2)
