"""Many short clips: one at a time, with batches across tracks, and in one process or in two.

    python benchmarks/many_tracks.py [--clips 200] [--seconds 5] [--model DIR] [--rounds 3]

Prints clips a second, medians of rounds taken in turn. The answers of all ways are compared first.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
import torch

from measurements.timing import interleaved
from pecmae import PECMAE

RATE = 44_100
# A process that says when it is ready, and begins when it is told: what is compared is the work, not the start.
WORKER = """
import sys, torch
from pecmae import PECMAE
torch.set_num_threads(int(sys.argv[1]))
model = PECMAE.from_pretrained(sys.argv[2] or None)
model.predict(sys.argv[3])
print("ready", flush=True)
for line in sys.stdin:
    for prediction in model.predict_many(line.split("\\t")[1:-1]):
        assert not isinstance(prediction, Exception), prediction
    print("done", flush=True)
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=200, metavar="N")
    parser.add_argument("--seconds", type=float, default=5.0, metavar="S", help="of each clip")
    parser.add_argument("--model", metavar="M", help="directory or Hub id (default: pecmae-mini)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="turns of which medians are taken")
    parser.add_argument("--cores", type=int, default=os.cpu_count() or 1, metavar="N", help="shared by all processes")
    args = parser.parse_args(arguments)
    torch.set_num_threads(args.cores)
    model = PECMAE.from_pretrained(args.model)
    with tempfile.TemporaryDirectory() as folder:
        clips = write_clips(Path(folder), args.clips, args.seconds)
        compare(model, clips)
        ways: dict[str, Callable[[], object]] = {
            "one at a time": lambda: [model.predict(clip) for clip in clips],
            "predict_many": lambda: list(model.predict_many(clips)),
        }
        counts = [count for count in (1, 2) if count <= args.cores]
        pools = {count: Pool(count, args.cores // count, args.model, clips) for count in counts}
        ways |= {
            f"{count} process{'es' * (count > 1)} × {args.cores // count} threads": partial(pool.run, clips)
            for count, pool in pools.items()
        }
        times = interleaved(ways, args.rounds)
        for pool in pools.values():
            pool.close()
    print(f"{args.clips} clips of {args.seconds:g} s, {args.cores} cores, {time.strftime('%Y-%m-%d')}")
    for way, seconds in times.items():
        print(f"{way:26}{len(clips) / seconds:8.1f} clips / s{times['one at a time'] / seconds:8.2f} ×")


class Pool:
    """Processes that have loaded a model and wait for clips."""

    def __init__(self, count: int, threads: int, model: str | None, clips: Sequence[Path]) -> None:
        command = [sys.executable, "-c", WORKER, str(threads), model or "", str(clips[0])]
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment}
        self.processes = [subprocess.Popen(command, **options) for _ in range(count)]
        self._expect("ready")

    def run(self, clips: Sequence[Path]) -> None:
        """Label all clips, each process its share."""
        for number, process in enumerate(self.processes):
            share = "\t".join(map(str, clips[number :: len(self.processes)]))
            process.stdin.write(f"\t{share}\t\n")
            process.stdin.flush()
        self._expect("done")

    def close(self) -> None:
        """End the processes."""
        for process in self.processes:
            process.communicate()

    def _expect(self, word: str) -> None:
        for process in self.processes:
            if process.stdout.readline().strip() != word:
                raise RuntimeError(f"a process ended with status {process.wait()}; its error is above.")


def write_clips(folder: Path, count: int, seconds: float) -> list[Path]:
    """Stereo FLAC of noise, no two alike."""
    paths = [folder / f"{number:03}.flac" for number in range(count)]
    for seed, path in enumerate(paths):
        noise = 0.1 * np.random.default_rng(seed).standard_normal((round(seconds * RATE), 2))
        soundfile.write(path, noise, RATE)
    return paths


def compare(model: PECMAE, clips: Sequence[Path]) -> None:
    """Refuse to measure ways that answer differently."""
    few = clips[:20]
    for clip, prediction in zip(few, model.predict_many(few), strict=True):
        if isinstance(prediction, Exception):
            raise prediction
        np.testing.assert_allclose(prediction.logits, model.predict(clip).logits, rtol=1e-2)


if __name__ == "__main__":
    main()
