"""What can be loaded by name: one literal table. Adding a model adds a line here, and its card in hub_cards/."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Literal

GTZAN_GENRES = ("blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock")
MEDLEY_INSTRUMENTS = (
    "clarinet",
    "distorted electric guitar",
    "female singer",
    "flute",
    "piano",
    "tenor saxophone",
    "trumpet",
    "violin",
)
MUSIC_STYLES = ("ambient", "classical", "electronic", "jazz", "metal", "rock")
XAI_GENRES = (
    "afrobeat",
    "ambient",
    "bolero",
    "bop",
    "bossa nova",
    "contemporary jazz",
    "cumbia",
    "disco",
    "doo wop",
    "dub",
    "electro",
    "europop",
    "funk",
    "gospel",
    "heavy metal",
    "house",
    "indie rock",
    "punk",
    "techno",
    "trance",
    "salsa",
    "samba",
    "soul",
    "swing",
)

# The model that the other embedded ones have their autoencoder from, so that a wheel holds it once.
SHARED_AUTOENCODER = "mini"

# How the scripts are told that a folder holds a data set as it was unpacked; XAI-Genre is not public.
_DATASET_OPTIONS = {"GTZAN": " --dataset gtzan", "Medley-Solos-DB": " --dataset medley-solos-db"}


@dataclass(frozen=True, kw_only=True)
class ZooEntry:
    """One model or autoencoder that pecmae knows by name."""

    # What users write, and the name of its card: hub_cards/NAME.md.
    name: str
    aliases: tuple[str, ...] = ()
    # "model": autoencoder and prototypes, it classifies. "autoencoder": the frozen part alone, without labels.
    kind: Literal["model", "autoencoder"]
    # "embedded": inside the package. "published": in its authors' layout, converted on first use.
    # "unpublished": nobody has published the weights; the card says how to make them.
    source: Literal["embedded", "published", "unpublished"]
    description: str
    # An SPDX name, or "other" where the publishers state their own terms.
    license: str
    segment_seconds: float
    # Published autoencoders: the Hub repos of the weights and of the codec, and the files in the former.
    repo_id: str | None = None
    weights_file: str | None = None
    config_file: str | None = None
    codec_repo_id: str | None = None
    # Models: the classes, how many prototypes each has, the data set, and whether the prototypes pass the adaptor.
    labels: tuple[str, ...] = ()
    prototypes_per_class: int | None = None
    dataset: str | None = None
    adaptor: bool = True

    @property
    def available(self) -> bool:
        """Whether there are weights to load."""
        return self.source != "unpublished"

    @property
    def make_command(self) -> str | None:
        """The command that makes the weights that nobody has published."""
        if self.available:
            return None
        return (
            f"pecmae fit DIR{_DATASET_OPTIONS.get(self.dataset or '', '')}"
            " --autoencoder encodecmae-diffusion-4s --preset paper"
            f" --prototypes-per-class {self.prototypes_per_class}{'' if self.adaptor else ' --no-adaptor'} --output OUT"
        )


def _published_autoencoder(seconds: int, data: str) -> ZooEntry:
    folder = f"models/DiffTransformerAE2L8L1CLS-{seconds}s"
    return ZooEntry(
        name=f"encodecmae-diffusion-{seconds}s",
        kind="autoencoder",
        source="published",
        description=f"EnCodecMAE diffusion autoencoder for segments of {seconds} s, trained on {data} by its authors.",
        license="other",
        segment_seconds=float(seconds),
        repo_id="lpepino/encodecmae2wav",
        weights_file=f"{folder}/weights.pt",
        config_file=f"{folder}/config.gin",
        codec_repo_id="facebook/encodec_24khz",
        dataset=data,
    )


def _paper_model(dataset: str, labels: tuple[str, ...], prototypes_per_class: int, *, adaptor: bool = True) -> ZooEntry:
    short_name = dataset.split("-")[0].lower()
    infix = "" if adaptor else "na-"
    return ZooEntry(
        name=f"pecmae-{short_name}-{infix}{prototypes_per_class}",
        kind="model",
        source="unpublished",
        description=f"PECMAE{'' if adaptor else '-NA'}-{prototypes_per_class} of the paper, on {dataset}.",
        license="apache-2.0",
        segment_seconds=4.0,
        labels=labels,
        prototypes_per_class=prototypes_per_class,
        dataset=dataset,
        adaptor=adaptor,
    )


_DATASETS = {"GTZAN": GTZAN_GENRES, "Medley-Solos-DB": MEDLEY_INSTRUMENTS, "XAI-Genre": XAI_GENRES}

_ENTRIES = (
    ZooEntry(
        name="mini",
        aliases=("pecmae-mini",),
        kind="model",
        source="embedded",
        description=(
            "Small model inside the package, trained on rendered music: for trying and teaching, "
            "not for judging real recordings."
        ),
        license="apache-2.0",
        segment_seconds=4.0,
        labels=GTZAN_GENRES,
        dataset="music composed by rule in ten styles and rendered with three General MIDI sound fonts",
    ),
    ZooEntry(
        name="mini-instruments",
        aliases=("pecmae-mini-instruments",),
        kind="model",
        source="embedded",
        description="Small model inside the package: the eight instruments of Medley-Solos-DB, learned from rendered solos.",
        license="apache-2.0",
        segment_seconds=4.0,
        labels=MEDLEY_INSTRUMENTS,
        dataset="solos composed by rule and rendered with four General MIDI sound fonts",
    ),
    ZooEntry(
        name="mini-styles",
        aliases=("pecmae-mini-styles",),
        kind="model",
        source="embedded",
        description="Small model inside the package: six styles of recorded and produced music, by weak labels.",
        license="apache-2.0",
        segment_seconds=4.0,
        labels=MUSIC_STYLES,
        dataset="freely licensed music from Debian's packages",
    ),
    _published_autoencoder(4, "FMA"),
    _published_autoencoder(10, "FMA and Jamendo"),
    *(
        _paper_model(dataset, labels, prototypes_per_class)
        for dataset, labels in _DATASETS.items()
        for prototypes_per_class in (1, 3, 5, 10, 20, 40)
    ),
    *(_paper_model(dataset, labels, 5, adaptor=False) for dataset, labels in _DATASETS.items()),
)

ZOO: Mapping[str, ZooEntry] = MappingProxyType({entry.name: entry for entry in _ENTRIES})


def find_entry(name: str) -> ZooEntry | None:
    """Return the entry called `name`, by its name or an alias; None when there is none."""
    return next((entry for entry in ZOO.values() if name == entry.name or name in entry.aliases), None)


def known_names(kind: Literal["model", "autoencoder"] | None = None) -> list[str]:
    """Names that can be loaded now, of one kind or of both, in the order of the table."""
    return [entry.name for entry in ZOO.values() if entry.available and kind in (None, entry.kind)]


def embedded_directory(name: str = SHARED_AUTOENCODER) -> Path:
    """Directory of a model that comes with the package, in the layout of any model directory.

    The embedded models share one autoencoder, which lies in the directory of `SHARED_AUTOENCODER`.
    """
    return Path(str(files("pecmae") / "assets" / f"pecmae-{name}"))


def is_embedded(name: str) -> bool:
    """Whether a model of this name comes with the package."""
    entry = find_entry(name)
    return entry is not None and entry.source == "embedded"
