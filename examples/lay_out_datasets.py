"""Lay rendered music out as GTZAN and Medley-Solos-DB are distributed, to try their loaders without either data set.

    python examples/lay_out_datasets.py --data data --output trees
    pecmae fit trees/gtzan --dataset gtzan --output runs/gtzan-tree
    pecmae fit trees/medley-solos-db --dataset medley-solos-db --output runs/medley-tree

DATA holds what render_music.py makes: genres/ and solos/. Folders, file names, rates and sample formats are those of the data
sets, faults included: GTZAN's excluded numbers hold repeated clips and one that cannot be read, which a loader without the
filter would trip over; the repaired clip is there, too. Validation and test clips come from the same splits of DATA.
"""

import argparse
import csv
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

import soundfile

from pecmae.audio.segments import load_audio
from pecmae.data.gtzan import GTZAN_EXCLUDED, GTZAN_REPAIRED, gtzan_split
from pecmae.data.medley_solos_db import MEDLEY_LABELS, MEDLEY_METADATA
from pecmae.errors import PecmaeError

GTZAN_RATE, GTZAN_CLIPS = 22_050, 100
# The one that most copies of GTZAN hold damaged.
GTZAN_UNREADABLE = ("jazz", 54)
MEDLEY_RATE, MEDLEY_SAMPLES = 44_100, 131_072
MEDLEY_SUBSETS = {"train": "training", "validation": "validation", "test": "test"}


def rendered(folder: Path) -> list[Path]:
    """The clips of one class in one split, in the order of their numbers."""
    if clips := sorted(folder.glob("*.wav")):
        return clips
    raise FileNotFoundError(f"{folder}: no rendered clips; make them with examples/render_music.py.")


def lay_out_gtzan(genres: Path, output: Path, seconds: float) -> Iterator[Path]:
    """Write `genres_original/GENRE/GENRE.NNNNN.wav`: a hundred clips of each genre, 22 050 Hz, 16 bit; yields each clip."""
    for label, excluded in GTZAN_EXCLUDED.items():
        sources = {split: iter(rendered(genres / split / label)) for split in MEDLEY_SUBSETS}
        folder = output / "genres_original" / label
        folder.mkdir(parents=True, exist_ok=True)
        used = [number for number in range(GTZAN_CLIPS) if number not in excluded]
        used += [GTZAN_REPAIRED[label]] if label in GTZAN_REPAIRED else []
        for number in used:
            split, target = gtzan_split(number), folder / f"{label}.{number:05d}.wav"
            if (source := next(sources[split], None)) is None:
                raise FileNotFoundError(f"{genres / split / label}: too few clips for GTZAN's {GTZAN_CLIPS}; render more.")
            samples = load_audio(source, target_rate=GTZAN_RATE)[: round(seconds * GTZAN_RATE)]
            soundfile.write(target, samples, GTZAN_RATE, "PCM_16")
            yield target
        for number in sorted(excluded):
            target = folder / f"{label}.{number:05d}.wav"
            shutil.copyfile(folder / f"{label}.{used[0]:05d}.wav", target)
            if (label, number) == GTZAN_UNREADABLE:
                target.write_bytes(target.read_bytes()[:20])
            yield target


def lay_out_medley(solos: Path, output: Path, seconds: float) -> Iterator[Path]:
    """Write `audio/Medley-solos-DB_SUBSET-ID_UUID.wav`, 2972 ms of 44 100 Hz as 32-bit floats, and its metadata."""
    (output / "audio").mkdir(parents=True, exist_ok=True)
    (output / "annotation").mkdir(exist_ok=True)
    rows: list[list[str | int]] = []
    for split, subset in MEDLEY_SUBSETS.items():
        for number, label in enumerate(MEDLEY_LABELS):
            for source in rendered(solos / split / label.replace(" ", "-")):
                uuid = str(uuid5(NAMESPACE_URL, f"{split}/{source.name}"))
                target = output / "audio" / f"Medley-solos-DB_{subset}-{number}_{uuid}.wav"
                samples = load_audio(source, target_rate=MEDLEY_RATE)[: min(MEDLEY_SAMPLES, round(seconds * MEDLEY_RATE))]
                soundfile.write(target, samples, MEDLEY_RATE, "FLOAT")
                rows.append([subset, label, number, len(rows), uuid])
                yield target
    with (output / "annotation" / MEDLEY_METADATA).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["subset", "instrument", "instrument_id", "song_id", "uuid4"], *rows])


LAYOUTS = {"gtzan": (lay_out_gtzan, "genres"), "medley-solos-db": (lay_out_medley, "solos")}


def main(argv: list[str] | None = None) -> None:
    """Write the trees."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with genres/ and solos/, as render_music.py makes it")
    parser.add_argument("--output", type=Path, required=True, help="the trees go to OUTPUT/DATASET")
    parser.add_argument("--dataset", choices=list(LAYOUTS), action="append", help="only this one; may be repeated")
    parser.add_argument("--seconds", type=float, default=30.0, help="cut longer clips, for a quick trial (default: 30)")
    args = parser.parse_args(argv)
    try:
        for name in args.dataset or LAYOUTS:
            lay_out, family = LAYOUTS[name]
            count = sum(1 for _ in lay_out(args.data / family, args.output / name, args.seconds))
            print(f"{args.output / name}: {count} clips")
    except (PecmaeError, FileNotFoundError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
