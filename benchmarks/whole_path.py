"""From a folder of audio to a model, its figures and its sound, with an autoencoder of the published size and random weights.

    python examples/render_music.py --output data --clips-per-class 4 --split train
    python benchmarks/whole_path.py --data data/genres/train --output whole-path

Random weights cost what trained ones do. Each step is the command that a user runs, without the start of its process; it finds
on the disk what the one before left there. Prints a table of seconds, of the clock and of all processors together.
"""

import argparse
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from itertools import islice
from pathlib import Path

import torch

from pecmae import Autoencoder, AutoencoderConfig
from pecmae.audio.segments import find_audio_files, load_audio, write_audio
from pecmae.cli.app import main as pecmae

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

RATE = 24_000


def cut_clips(data: Path, output: Path, classes: int, clips: int, seconds: float) -> None:
    """The beginnings of the first clips of the first classes in `data/LABEL/…`, as `output/LABEL/…`."""
    for folder in islice(sorted(path for path in data.iterdir() if path.is_dir()), classes):
        for path in find_audio_files([folder])[:clips]:
            (output / folder.name).mkdir(parents=True, exist_ok=True)
            samples = load_audio(path, target_rate=RATE)[: round(seconds * RATE)]
            write_audio(output / folder.name / f"{path.stem}.wav", samples, RATE)


def timed(what: str, work: Callable[[], object]) -> None:
    """Do it, and print its line of the table; what it writes to standard output goes to standard error."""
    clock, processor = time.perf_counter(), time.process_time()
    try:
        with redirect_stdout(sys.stderr):
            work()
    except SystemExit as end:
        if end.code:
            raise
    spent = time.perf_counter() - clock, time.process_time() - processor
    print(f"| {what} | {spent[0]:.1f} | {spent[1]:.1f} |", flush=True)


def main(argv: list[str] | None = None) -> None:
    """Run and time the steps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with a sub-folder of audio for each class")
    parser.add_argument("--output", type=Path, required=True, help="new folder for clips, autoencoder, run and sound")
    parser.add_argument("--classes", type=int, default=3, help="how many classes (default: 3)")
    parser.add_argument("--clips", type=int, default=4, help="clips of each (default: 4)")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each clip (default: 8)")
    parser.add_argument("--steps", type=int, default=200, help="of fitting the prototypes (default: 200)")
    parser.add_argument("--autoencoder", help="another one (default: published size, random weights)")
    args = parser.parse_args(argv)
    if args.output.exists():
        parser.error(f"--output {args.output} exists; name a new folder, or nothing would be timed that is cached there.")
    cut_clips(args.data, args.output / "clips", args.classes, args.clips, args.seconds)
    run, model, sound = args.output / "run", args.output / "run" / "model", args.output / "sound.wav"
    label = min(path.name for path in (args.output / "clips").iterdir())

    def save_random() -> None:
        torch.manual_seed(0)
        Autoencoder(AutoencoderConfig()).save_pretrained(args.output / "autoencoder")

    data = str(args.output / "clips")
    fitting = ["--autoencoder", args.autoencoder or str(args.output / "autoencoder"), "--output", str(run)]
    fitting += ["--prototypes", "1", "--steps", str(args.steps)]
    report = ["--model", str(model), "--output", str(args.output / "report.json")]
    saying = ["--class", label, "--prototype", "0", "--steps", "4", "--model", str(model), "--output", str(sound)]
    print("| step | seconds | processor seconds |\n|---|---:|---:|", flush=True)
    if args.autoencoder is None:
        timed("make the autoencoder and save it", save_random)
    timed("pecmae fit: check, embed, fit, save", lambda: pecmae(["fit", data, *fitting]))
    timed("pecmae evaluate", lambda: pecmae(["evaluate", data, *report, "--seeds", "0", "--round-trips", "1"]))
    timed("pecmae classify", lambda: pecmae(["classify", str(args.output / "clips" / label), "--model", str(model), "--json"]))
    timed("pecmae sonify: 1 prototype, 4 steps", lambda: pecmae(["sonify", *saying]))


if __name__ == "__main__":
    main()
