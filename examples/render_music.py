"""Compose and render labelled music: ``python examples/render_music.py --output DIR``.

Two families: ``genres``, 30 s clips in the styles of the ten GTZAN genres, and ``solos``, 3 s clips of the eight instruments of
Medley-Solos-DB. The same seed gives the same files. A run that stopped goes on where it was. The splits train, validation and
test share no composition; ``other`` is a second test set, meant for another sound font, with effects that no training clip has:

    python examples/render_music.py --output DIR --split other --soundfont /usr/share/sounds/sf2/TimGM6mb.sf2

Clips that exist are kept, so asking for more clips with another font adds some in that font (75 a class here):

    python examples/render_music.py --output DIR --split train --clips-per-class 225 --soundfont FONT.sf2

It needs the ``fluidsynth`` program and a General MIDI sound font (Debian: fluidsynth, fluid-soundfont-gm, timgm6mb-soundfont;
musescore-general-soundfont-lossless and csound-soundfont are two more).
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

from rendered_music.dataset import FAMILIES, SPLITS, plan, render, write_index

SOUND_FONT = Path("/usr/share/sounds/sf2/FluidR3_GM.sf2")
SECONDS = {"genres": 30.0, "solos": 3.0}
CLIPS_PER_CLASS = {"train": 150, "validation": 20, "test": 30, "other": 30}


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="folder of the data sets; clips go to DIR/FAMILY/SPLIT/LABEL"
    )
    parser.add_argument("--family", choices=sorted(FAMILIES), default="genres", help="what to make (default: %(default)s)")
    parser.add_argument(
        "--split", choices=SPLITS, action="append", help="split to make; may be repeated (default: train, validation, test)"
    )
    parser.add_argument(
        "--clips-per-class", type=int, nargs="+", metavar="N",
        help="clips a class: one number for every split, or one for each (default: 150 to train, 20 to validate, 30 to test)",
    )  # fmt: skip
    parser.add_argument("--label", action="append", help="only this class; may be repeated")
    parser.add_argument("--seconds", type=float, help="length of a clip in seconds (default: 30 for genres, 3 for solos)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the data set (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: one a core)")
    parser.add_argument(
        "--soundfont", type=Path, default=SOUND_FONT, metavar="SF2", help="General MIDI sound font (default: %(default)s)"
    )
    parser.add_argument("--keep-midi", action="store_true", help="keep the MIDI file beside each clip")
    options = parser.parse_args(arguments)
    options.split = options.split or ["train", "validation", "test"]
    counts = options.clips_per_class or [CLIPS_PER_CLASS[split] for split in options.split]
    options.clips_per_class = counts * len(options.split) if len(counts) == 1 else counts
    if len(options.clips_per_class) != len(options.split):
        parser.error(f"--clips-per-class has {len(counts)} numbers for {len(options.split)} splits; give one, or one for each.")
    if unknown := set(options.label or ()) - set(FAMILIES[options.family]):
        parser.error(f"--label {min(unknown)} is not one of {', '.join(sorted(FAMILIES[options.family]))}.")
    if options.seconds is None:
        options.seconds = SECONDS[options.family]
    if options.seconds <= 0 or options.seed < 0 or min(options.clips_per_class) < 0:
        parser.error("--seconds must be positive, --seed and --clips-per-class not negative.")
    if not options.soundfont.is_file():
        parser.error(f"--soundfont {options.soundfont} does not exist; install fluid-soundfont-gm or name another sound font.")
    if shutil.which("fluidsynth") is None:
        parser.error("the program fluidsynth is not on the PATH; install it (Debian: apt install fluidsynth).")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Make the clips and their index."""
    options = parse_arguments(arguments)
    counts = dict(zip(options.split, options.clips_per_class, strict=True))
    clips = plan(options.family, counts, seconds=options.seconds, seed=options.seed, labels=options.label or ())
    made = 0
    rendered = render(clips, options.output, options.soundfont, workers=options.workers, keep_midi=options.keep_midi)
    for number, (clip, new) in enumerate(rendered, 1):
        made += new
        if number % 50 == 0 or number == len(clips):
            print(f"{number}/{len(clips)} clips ({made} made now), last {clip.path}", file=sys.stderr, flush=True)
    if clips:
        print(write_index(clips, options.output))
    return 0


if __name__ == "__main__":
    sys.exit(main())
