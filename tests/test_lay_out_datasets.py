"""Trees under the names of the real data sets, made of other sounds: what the loaders find in them."""

from pathlib import Path

import pytest
import soundfile

import lay_out_datasets
from audio_trees import write_tone
from pecmae.data.checks import check_collection
from pecmae.data.gtzan import GTZAN_EXCLUDED
from pecmae.data.load import load_collection
from pecmae.data.medley_solos_db import MEDLEY_LABELS


@pytest.fixture(scope="module")
def trees(tmp_path_factory) -> Path:
    """Both trees, laid out from short tones in the place of rendered clips."""
    root, number = tmp_path_factory.mktemp("music"), 0
    counts = {"train": 80, "validation": 10, "test": 10}
    for split, count in counts.items():
        for label in GTZAN_EXCLUDED:
            for clip in range(count):
                write_tone(root / "genres" / split / label / f"{label}.{clip:05d}.wav", number := number + 1, seconds=0.02)
        for label in MEDLEY_LABELS:
            folder = label.replace(" ", "-")
            write_tone(root / "solos" / split / folder / f"{folder}.00000.wav", number := number + 1, seconds=3)
    lay_out_datasets.main(["--data", str(root), "--output", str(root / "trees")])
    return root / "trees"


def test_gtzan_s_loader_takes_the_filtered_clips_and_nothing_is_wrong_with_them(trees):
    collection = load_collection(trees / "gtzan", dataset="gtzan")
    assert {split: len(clips) for split, clips in collection.splits.items()} == {"train": 732, "validation": 96, "test": 91}
    assert check_collection(collection).ok


def test_without_the_filter_gtzan_s_faults_are_found(trees):
    report = check_collection(load_collection(trees / "gtzan" / "genres_original"))
    assert [path.name for path in report.unreadable] == ["jazz.00054.wav"]
    repeated = {path.name for paths in report.duplicates for path in paths}
    assert len(repeated) == 82 - 1 + 9  # all excluded clips but the damaged one, and one original in each genre but blues
    assert {"rock.00001.wav", "rock.00090.wav", "rock.00000.wav"} <= repeated


def test_medley_s_loader_finds_every_clip_in_its_split(trees):
    collection = load_collection(trees / "medley-solos-db", dataset="medley-solos-db")
    assert collection.counts == {split: dict.fromkeys(MEDLEY_LABELS, 1) for split in ("train", "validation", "test")}
    assert check_collection(collection, minimum_clips=1).ok
    found = soundfile.info(str(collection.splits["test"][0].path))
    assert (found.samplerate, found.subtype, found.frames, found.channels) == (44_100, "FLOAT", 131_072, 1)


def test_too_few_rendered_clips_are_named(tmp_path):
    write_tone(tmp_path / "genres" / "train" / "blues" / "blues.00000.wav", 0)
    with pytest.raises(SystemExit, match="genres/validation/blues: no rendered clips"):
        lay_out_datasets.main(["--data", str(tmp_path), "--output", str(tmp_path / "trees")])
