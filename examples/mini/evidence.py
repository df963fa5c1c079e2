"""What was measured of a model, as plain values: its bars, the figures of its card and the card's section.

Evidence is a dictionary that JSON can hold; `examples/mini/mini_evidence.py` fills it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from pecmae.core.configs import model_sha256
from pecmae.errors import ConfigError
from pecmae.evaluation.tracks import Evaluation
from pecmae.hub.cards import Measurement

FORMAT_VERSION = 1
# Names of the independent listeners: one that learned from clean audio, one from audio that went through the model's codec.
CLEAN, CODEC = "clean", "codec"


@dataclass(frozen=True)
class Bar:
    """Something that the model should reach."""

    name: str
    # What was measured; None: not measured.
    value: float | None
    # Whether the limit is the least or the most that is asked for.
    at_least: bool
    limit: float
    # "%" values are shares.
    unit: str = "%"

    @property
    def reached(self) -> bool | None:
        """Whether it is; None: not measured."""
        if self.value is None:
            return None
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "reached": self.reached}


def summary(evaluation: Evaluation) -> dict[str, Any]:
    """Accuracy with its interval, and the number of tracks."""
    return {
        "accuracy": evaluation.accuracy,
        "interval_95": evaluation.to_dict()["interval_95"],
        "num_tracks": len(evaluation.true),
    }


def bars(evidence: Mapping[str, Any]) -> list[Bar]:
    """The bars of the embedded model."""
    test, other = evidence["genres"]["test"], evidence["genres"]["other"]
    listener = evidence["sonification"]["listeners"][CLEAN]
    times = evidence["times"] or {}
    placed = sum(count > 0 for count in listener["prototypes_placed_right"].values())
    classes = len(listener["prototypes_placed_right"])
    return [
        Bar("wheel with the model", evidence["wheel_mb"], False, 20, "MB"),
        Bar("accuracy on the test set", test["model"]["accuracy"], True, 0.9),
        Bar("points of accuracy below the ceiling", test["ceiling"]["accuracy"] - test["model"]["accuracy"], False, 0.03),
        Bar("accuracy with another sound font", other["model"]["accuracy"], True, 0.7),
        Bar("clips that keep their label in the round trip", evidence["round_trip"]["clip_label_survives"], True, 0.85),
        Bar("sonified prototypes of their own class, by the model", evidence["sonification"]["own_class"], True, 0.9),
        Bar("sonified prototypes of their own class, by the independent listener", listener["own_class"], True, 0.6),
        Bar("classes with a prototype that the independent listener places right", placed, True, classes, ""),
        Bar("time to sonify a class", times.get("sonify_seconds"), False, 5, "s"),
        Bar("time to classify a 30 s clip, beyond start-up", times.get("classify_seconds"), False, 1, "s"),
    ]


def read_evidence(path: Path, directory: Path) -> dict[str, Any] | None:
    """Evidence of the model in a directory; None where there is no such file.

    Raises
    ------
    ConfigError
        It is of other weights, or of another version of this package.
    """
    if not path.is_file():
        return None
    evidence = json.loads(path.read_text(encoding="utf-8"))
    if evidence.get("format_version") != FORMAT_VERSION:
        raise ConfigError(f"{path}: written by another version of this package; measure again.")
    if evidence["model"] != model_facts(directory):
        raise ConfigError(f"{path}: measured on other weights than those in {directory}; measure again or delete it.")
    return dict(evidence)


def model_facts(directory: Path) -> dict[str, Any]:
    """What tells a model from another: hashes of its weights."""
    inside = directory / "autoencoder"
    return {"head": model_sha256(directory), "autoencoder": model_sha256(inside) if inside.is_dir() else None}


def measurements(evidence: Mapping[str, Any]) -> tuple[Measurement, ...]:
    """The figures of the card's table of results, which become the Hub's metadata."""
    test, other, sounds = evidence["genres"]["test"], evidence["genres"]["other"], evidence["sonification"]
    rows: Sequence[tuple[str, str, str, float]] = [
        ("test", "accuracy", "class-normalised accuracy", test["model"]["accuracy"]),
        ("other", "accuracy", "class-normalised accuracy, other sound font and effects", other["model"]["accuracy"]),
        ("test", "ece", "expected calibration error", test["calibration_error"]),
        (
            "test",
            "label_survival",
            "clips that keep their label in the round trip",
            evidence["round_trip"]["clip_label_survives"],
        ),
        ("test", "log_mel_error", "log-mel error of the codec, nepers", evidence["codec"]["log_mel"]),
        ("test", "own_class_share", "sounds of prototypes classified as the prototype's class", sounds["own_class"]),
        (
            "test",
            "own_class_share_independent",
            "the same by an independent classifier of log-mel statistics",
            sounds["listeners"][CLEAN]["own_class"],
        ),
    ]
    return tuple(
        Measurement(
            value=round(value, 4), metric_name=name, metric_type=kind, dataset_name="rendered genres",
            dataset_type="rendered-genres", split=split, command=evidence["command"],
        )
        for split, kind, name, value in rows
    )  # fmt: skip


def card_section(evidence: Mapping[str, Any]) -> str:
    """The card's section about the evidence, in Markdown."""
    template = Path(__file__).with_name("evidence.md.j2").read_text(encoding="utf-8")
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"percent": _percent, "interval": _interval, "quantity": _quantity}
    return environment.from_string(template).render(evidence=evidence, clean=CLEAN, codec=CODEC)


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _interval(found: Mapping[str, Any]) -> str:
    low, high = found["interval_95"]
    return f"{_percent(found['accuracy'])} ({_percent(low)}–{_percent(high)})"


def _quantity(value: float | None, unit: str) -> str:
    if value is None:
        return "not measured"
    if unit == "%":
        return f"{_percent(value)} %"
    return f"{value:.4g} {unit}".strip()
