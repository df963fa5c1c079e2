"""What was measured of a model, as plain values: its bars, the figures of its card and the card's section.

Evidence is a dictionary that JSON can hold; `examples/mini/mini_evidence.py` fills it.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from pecmae.core.configs import model_sha256
from pecmae.errors import ConfigError
from pecmae.evaluation.tracks import Evaluation
from pecmae.hub.cards import Measurement, dataset_type
from pecmae.hub.resolve import embedded_autoencoder

FORMAT_VERSION = 2
# The independent listener, which learned from training clips as they are.
CLEAN = "clean"


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


# Least accuracy asked of each model on its main test set.
ACCURACY = {"mini": 0.8, "mini-instruments": 0.6, "mini-styles": 0.65}
# Least share of sounds that MusiCNN as an ear names right, by stage.
EAR = {"codec": 0.75, "decoded": 0.55, "prototypes": 0.5}
STAGES = {
    "clip": "the clip",
    "codec": "its copy through the codec",
    "decoded": "decoded from its z",
    "prototypes": "the prototypes' sounds",
}


def bars(evidence: Mapping[str, Any]) -> list[Bar]:
    """What is asked of an embedded model, and what it does."""
    test, times = evidence["tests"][evidence["main_test"]], evidence["times"] or {}
    ear = evidence["ear"] or {"heard": {}, "pulse": None}
    accuracy, reasons, musicnn, pulse = test["model"]["accuracy"], test["reasons"], ear["heard"].get("MusiCNN"), ear["pulse"]
    found = [
        Bar("accuracy on the first test set", accuracy, True, ACCURACY[evidence["name"]]),
        Bar("points of accuracy below a perceptron on the same z", test["mlp"]["accuracy"] - accuracy, False, 0.02),
        Bar("decisions whose strongest prototype is of the given class", reasons["agreement"], True, 0.95),
        Bar("prototypes that make nine tenths of a margin, median", reasons["compactness"], False, 5, ""),
    ]
    if musicnn:
        found += [
            Bar(f"{STAGES[stage]} heard as its class by MusiCNN", musicnn[stage], True, limit) for stage, limit in EAR.items()
        ]
    if pulse:
        kept = pulse["decoded"] / pulse["clip"]
        found.append(Bar("pulse of what is decoded from z, as a share of the recording's", kept, True, 0.5))
    return [
        *found,
        Bar("sonified prototypes of their own class, by the model", evidence["sonification"]["own_class"], True, 0.9),
        Bar("wheel with all embedded models", evidence["wheel_mb"], False, 30, "MB"),
        Bar("time to sonify a class", times.get("sonify_seconds"), False, 5, "s"),
        Bar("time to classify a clip, beyond start-up", times.get("classify_seconds"), False, 1, "s"),
    ]


def bars_table(evidence: Mapping[str, Mapping[str, Any]]) -> str:
    """The bars of several models side by side, in Markdown; what is missed stands bold."""
    found = {model: {bar["name"]: bar for bar in one["bars"]} for model, one in evidence.items()}
    names = list(dict.fromkeys(name for each in found.values() for name in each))
    lines = ["| what | asked for |" + "".join(f" `{model}` |" for model in found), "|---|---|" + "---|" * len(found)]
    for name in names:
        asked = dict.fromkeys(_asked(each[name]) for each in found.values() if name in each)
        cells = [_cell(each.get(name)) for each in found.values()]
        lines.append(f"| {name} | {', '.join(asked)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _asked(bar: Mapping[str, Any]) -> str:
    limit = f"{100 * bar['limit']:g} %" if bar["unit"] == "%" else _quantity(bar["limit"], bar["unit"])
    return f"{'at least' if bar['at_least'] else 'at most'} {limit}"


def _cell(bar: Mapping[str, Any] | None) -> str:
    if bar is None:
        return "–"
    shown = _quantity(bar["value"], bar["unit"])
    return f"**{shown}**" if bar["reached"] is False else shown


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
    return {"head": model_sha256(directory), "autoencoder": model_sha256(inside if inside.is_dir() else embedded_autoencoder())}


def measurements(evidence: Mapping[str, Any]) -> tuple[Measurement, ...]:
    """The figures of the card's table of results, which become the Hub's metadata."""
    rows: list[tuple[str, str, str, float]] = []
    for name, test in evidence["tests"].items():
        rows.append((name, "accuracy", "class-normalised accuracy", test["model"]["accuracy"]))
        rows.append((name, "agreement", "decisions whose strongest prototype agrees", test["reasons"]["agreement"]))
    sounds = evidence["sonification"]
    rows += [
        ("all", "own_class_share", "sounds of prototypes classified as the prototype's class", sounds["own_class"]),
        ("all", "own_class_share_independent", "the same by log-mel statistics", sounds["listeners"][CLEAN]["own_class"]),
    ]
    return tuple(
        Measurement(
            value=round(value, 4), metric_name=name, metric_type=kind, dataset_name=evidence["learned_from"]["title"],
            dataset_type=dataset_type(evidence["learned_from"]["title"]), split=split, command=evidence["command"],
        )
        for split, kind, name, value in rows
        if value is not None
    )  # fmt: skip


def card_section(evidence: Mapping[str, Any]) -> str:
    """The card's section about the evidence, in Markdown."""
    template = Path(__file__).with_name("evidence.md.j2").read_text(encoding="utf-8")
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"percent": _percent, "interval": _interval, "quantity": _quantity, "asked": _asked}
    return environment.from_string(template).render(evidence=evidence, clean=CLEAN, stages=STAGES)


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _interval(found: Mapping[str, Any]) -> str:
    if found["accuracy"] is None:
        return "–"
    low, high = found["interval_95"]
    return f"{_percent(found['accuracy'])} ({_percent(low)}–{_percent(high)})"


def _quantity(value: float | None, unit: str) -> str:
    if value is None:
        return "not measured"
    if unit == "%":
        return f"{_percent(value)} %"
    return f"{value:.4g} {unit}".strip()
