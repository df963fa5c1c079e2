"""The embedded models: what each is fitted on, and what it is measured on.

Folders are those that examples/render_music.py and examples/real_audio.py write, below one folder of data.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from pecmae.data.collection import Clip, Collection
from pecmae.data.load import load_collection

# What heads are fitted on, and what choices are made on.
LEARNED = ("train", "validation")


@dataclass(frozen=True)
class Embedded:
    """An embedded model."""

    # As in the zoo.
    name: str
    # Folder of its data, and what that is called in cards.
    folder: str
    title: str
    # Test set, as FOLDER/SPLIT or a folder of classes → what it is.
    tests: Mapping[str, str]
    # Split of its data that tells how far it can be trusted, and what that is.
    calibrated_on: str = "calibration"
    # Whether MusiCNN may judge its sounds: not where its labels came from MusiCNN.
    musicnn_judges: bool = True

    @property
    def card(self) -> str:
        """Name of its card and of its files."""
        return f"pecmae-{self.name}"

    @property
    def main_test(self) -> str:
        """The test set that its sounds are judged on."""
        return next(iter(self.tests))

    def collection(self, data: Path) -> Collection:
        """What it is fitted and calibrated on, and nothing else."""
        found = load_collection(data / self.folder).splits
        wanted = dict.fromkeys((*LEARNED, self.calibrated_on))
        return Collection(self.title, {split: spoken(found[split]) for split in wanted if split in found})

    def test_clips(self, data: Path) -> dict[str, tuple[Clip, ...]]:
        """Labelled files of every test set."""
        return {test: spoken(load_collection(data / test).clips) for test in self.tests}


def spoken(clips: tuple[Clip, ...]) -> tuple[Clip, ...]:
    """Clips whose classes are called as people write them, not as folders are."""
    return tuple(replace(clip, label=clip.label.replace("-", " ")) for clip in clips)


MODELS: Mapping[str, Embedded] = MappingProxyType(
    {
        "mini": Embedded(
            "mini",
            "genres",
            "rendered genres",
            {"genres/other": "rendered genres, with a sound font and effects that nothing learned from heard"},
        ),
        "mini-instruments": Embedded(
            "mini-instruments",
            "solos",
            "rendered solos",
            {
                "notes": "real notes of seven instruments",
                "solos/other": "rendered solos, with a sound font and effects that nothing learned from heard",
            },
        ),
        "mini-styles": Embedded(
            "mini-styles",
            "styles",
            "recorded and produced music",
            {
                "styles/test": "music of packages and artists that nothing learned from holds, by weak labels",
                "styles/tagged": "of these packages the tracks whose own tag names a style, by that tag",
            },
            # Tracks of packages that it was not fitted on are few, and all of them decided how it is fitted.
            calibrated_on="validation",
            musicnn_judges=False,
        ),
    }
)
