"""What costs a whole process: how long a console command takes from nothing, and how much memory it needs at most."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import soundfile

from measurements.subjects import CLIP, DEFAULT_ALLOCATOR, Subject
from measurements.table import Row
from measurements.timing import interleaved

PECMAE = [sys.executable, "-m", "pecmae"]
# Runs a command and prints its peak memory. A process of its own: on Linux a child's peak is never below that of the process
# that starts it, and the benchmark's is large.
PEAK_OF_CHILD = (
    "import json, resource, subprocess, sys;"
    "done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True);"
    "print(json.dumps([done.returncode, done.stderr, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss]))"
)


def startup_rows(folder: Path, rounds: int) -> list[Row]:
    """From the key press to the prompt, beside what Python alone takes, or Python with torch."""
    sounds = str(folder / "sound.wav")
    light = {"--help": ["--help"], "--version": ["--version"], "models": ["models"]}
    light |= {f"{name} --help": [name, "--help"] for name in command_names()}
    heavy = {
        "classify CLIP": ["classify", str(CLIP)],
        "embed CLIP": ["embed", str(CLIP), "--output", str(folder / "embeddings")],
        "sonify, one prototype": ["sonify", "--class", "jazz", "--prototype", "0", "--output", sounds],
        "explain CLIP": ["explain", str(CLIP), "--output", str(folder / "report.html")],
    }
    commands = {name: [*PECMAE, *arguments] for name, arguments in (light | heavy).items()}
    commands |= {"bare": [sys.executable, "-c", "pass"], "torch": [sys.executable, "-c", "import torch"]}
    work = {name: partial(subprocess.run, command, check=True, capture_output=True) for name, command in commands.items()}
    times = interleaved(work, rounds, warm_up=rounds > 1)  # the first turn fills the disk's cache
    return [
        Row(
            group="start-up",
            what=f"pecmae {name}",
            unit="s",
            ours=times[name],
            limit=times["bare" if name in light else "torch"],
        )
        for name in light | heavy
    ]


def command_names() -> list[str]:
    """Of the console, in the order of its help."""
    from pecmae.cli.app import app

    return [command.name or command.callback.__name__ for command in app.registered_commands if command.callback]


def memory_rows(subject: Subject, minutes: Sequence[float], folder: Path) -> list[Row]:
    """Peak memory of `pecmae classify` by the duration of the file."""
    rows = []
    for duration in minutes:
        path = folder / f"{duration:g}.wav"
        write_noise(path, duration * 60)
        peak = peak_memory([*PECMAE, "classify", str(path), "--model", str(subject.directory)])
        path.unlink()
        name = f"{duration:g} min" if duration < 60 else f"{duration / 60:g} h"
        rows.append(Row(group="memory", what=f"classify {name}, {subject.name}", unit="MB", ours=peak))
    return rows


def allocator_rows(subject: Subject, minutes: float, folder: Path, rounds: int) -> list[Row]:
    """Seconds of `pecmae classify` while the process keeps the memory that layers free, and while it gives it back.

    No rows where the allocator is not glibc's, which alone can be told so.
    """
    if platform.libc_ver()[0] != "glibc":
        return []
    path = folder / "allocator.wav"
    write_noise(path, minutes * 60)
    command = [*PECMAE, "classify", str(path), "--model", str(subject.directory)]
    environments = {"is kept": dict(os.environ), "goes back": os.environ | DEFAULT_ALLOCATOR}
    work = {
        name: partial(subprocess.run, command, check=True, capture_output=True, env=environment)
        for name, environment in environments.items()
    }
    times = interleaved(work, rounds, warm_up=rounds > 1)
    path.unlink()
    what = f"classify {minutes:g} min, {subject.name}, freed memory"
    return [Row(group="memory", what=f"{what} {name}", unit="s", ours=seconds) for name, seconds in times.items()]


def write_noise(path: Path, seconds: float, rate: int = 16_000) -> None:
    """A recording of faint noise, at a rate that has to be converted."""
    second = (0.1 * np.random.default_rng(0).standard_normal(rate)).astype(np.float32)
    with soundfile.SoundFile(path, "w", rate, 1, subtype="PCM_16") as file:
        for _ in range(round(seconds)):
            file.write(second)


def peak_memory(command: Sequence[str]) -> float:
    """Of a command, in megabytes.

    Raises
    ------
    RuntimeError
        It failed; the message holds what it said.
    """
    found = subprocess.run([sys.executable, "-c", PEAK_OF_CHILD, *command], check=True, capture_output=True, text=True)
    code, errors, peak = json.loads(found.stdout)
    if code:
        raise RuntimeError(f"{' '.join(command)} ended with status {code}: {errors}")
    # The system counts in kilobytes on Linux, in bytes on macOS.
    return peak / (1e6 if sys.platform == "darwin" else 1e6 / 1024)
