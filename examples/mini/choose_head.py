"""Choose how the embedded models' heads are fitted, on validation tracks alone, and write what was found as a table.

    python examples/mini/choose_head.py genres solos styles --data DIR [--output docs/heads.json]

DIR holds FAMILY/train and FAMILY/validation: what render_music.py and real_audio.py write. For each family heads are fitted for
every combination of prototypes per class, kernel scale, share of the classification loss and weights (free, or each prototype
for its own class alone), and each is also tried with its prototypes set onto training segments. The rule: of all whose accuracy
lies within the 95 % interval of the most accurate one, the crispest, whose reasons agree with the decision most often and are
cancelled least (`crispness`).

A run that was cut off goes on; no test set is read.
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from pecmae import PECMAE, PrototypeHead
from pecmae.core.files import atomic_write, cache_root
from pecmae.data.embedding_cache import EmbeddingCache
from pecmae.data.load import load_collection
from pecmae.data.tracks import EmbeddedTracks, embed_files
from pecmae.errors import ConfigError, PecmaeError
from pecmae.evaluation.baselines import MLPBaseline, evaluate_classifier
from pecmae.evaluation.tracks import evaluate_embedded
from pecmae.prototypes.fitting import HEAD_SETTINGS, HeadFit, fit_head
from pecmae.prototypes.measures import track_reasons
from pecmae.prototypes.refitting import project_prototypes

DOCS = Path(__file__).parents[2] / "docs"
SETTINGS = replace(HEAD_SETTINGS, steps=1500, learning_rate=2e-3)
EVALUATE_EVERY = 250
PROTOTYPES = (3, 5, 10)
KERNEL_SCALES = (1.0, 10.0, 20.0, 40.0, 60.0)
CLASS_LOSS_WEIGHTS = (0.25, 0.5)
TABLE = """\
# How the heads were chosen

Written by `examples/mini/choose_head.py`, on validation tracks alone; no test set was read. Heads were fitted for {{ steps }} steps with
similarities S = exp(−s · distance), λ as the share of the classification loss, and weights of the linear layer that are free or
those of a prototype's own class alone; prototypes stayed as they were fitted or were set onto segments of training tracks.
Of all heads whose accuracy lies within the 95 % interval of the most accurate one the crispest is taken (bold): that with the
highest agreement × (1 − cancelled).

*Agreement*: decisions whose strongest prototype is of the given class. *Prototypes needed*: for nine tenths of what speaks for
the label against the runner-up, median. *Cancelled*: share of what speaks for the label that speaks for the runner-up, median.

{% for family, found in families.items() %}
## {{ found.title }}

{{ found.clips.train }} training and {{ found.clips.validation }} validation tracks of {{ found.labels | length }} classes. A perceptron on the same z
names {{ "%.1f" | format(100 * found.mlp) }} % of the validation tracks.

| prototypes per class | s | λ | weights | prototypes are | accuracy, % (95 %) | agreement, % | prototypes needed | cancelled, % |
|---|---|---|---|---|---|---|---|---|
{% for row in found.rows %}
| {{ row.choice.prototypes_per_class }} | {{ "%g" | format(row.choice.kernel_scale) }} | {{ row.choice.class_loss_weight }} | {{ "own class" if row.choice.own_weights else "free" }} | {{ "segments" if row.choice.project else "free" }} | {{ "**" if row.chosen }}{{ "%.1f" | format(100 * row.accuracy) }}{{ "**" if row.chosen }} ({{ "%.1f" | format(100 * row.interval_95[0]) }}–{{ "%.1f" | format(100 * row.interval_95[1]) }}) | {{ "%.1f" | format(100 * row.agreement) }} | {{ "%g" | format(row.compactness) }} | {{ "%.0f" | format(100 * row.cancellation) }} |
{% endfor %}

{% endfor %}
"""  # noqa: E501


@dataclass(frozen=True)
class Choice:
    """What is chosen of a head; names as in `HeadFit`."""

    prototypes_per_class: int
    kernel_scale: float
    class_loss_weight: float
    own_weights: bool
    project: bool = False


def choices(prototypes: Sequence[int], kernel_scales: Sequence[float]) -> list[Choice]:
    """All that are fitted."""
    return [Choice(*values) for values in product(prototypes, kernel_scales, CLASS_LOSS_WEIGHTS, (False, True))]


def crispness(row: Mapping[str, Any]) -> float:
    """How plain a head's reasons are: the share that agree with their decision, times what nothing cancels of them."""
    return row["agreement"] * (1 - row["cancellation"])


def chosen(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The row that the rule at the top of this file takes."""
    best = max(rows, key=lambda row: row["accuracy"])
    near = [row for row in rows if row["accuracy"] >= best["interval_95"][0]]
    return max(near, key=lambda row: (crispness(row), row["accuracy"]))


def measured(choice: Choice, head: PrototypeHead, labels: tuple[str, ...], validation: EmbeddedTracks) -> dict[str, Any]:
    """A row: the choice, and how its head does on validation tracks."""
    found = evaluate_embedded(head, labels, validation)
    facts = {"accuracy": found.accuracy, "interval_95": list(found.interval(0.95))}
    return {"choice": asdict(choice), **facts, **track_reasons(head, validation).to_dict()}


def tried(choice: Choice, labels: tuple[str, ...], tracks: dict[str, EmbeddedTracks]) -> list[dict[str, Any]]:
    """Rows of a choice: its head as it was fitted, and with its prototypes set onto training segments."""
    fit = HeadFit(**asdict(choice), evaluate_every=EVALUATE_EVERY)
    train, validation = tracks["train"], tracks["validation"]
    head, _ = fit_head(
        train, fit.config(train.z.shape[1], len(labels)), SETTINGS, validation=validation,
        evaluate_every=EVALUATE_EVERY, class_loss_weight=fit.class_loss_weight, own_weights=fit.own_weights,
    )  # fmt: skip
    projected = project_prototypes(head, train.whole())
    return [
        measured(choice, head, labels, validation),
        measured(replace(choice, project=True), projected, labels, validation),
    ]


def search(
    family: str, folder: Path, cache: EmbeddingCache, found: dict[str, Any], wanted: Sequence[Choice], keep: Callable[[], None]
) -> None:
    """Fill `found` with the rows of a family's wanted choices that are missing; `keep` is called after each."""
    collection = load_collection(folder)
    labels = tuple(sorted({clip.label for clip in collection.splits["train"]}))
    clips = {split: collection.splits[split] for split in ("train", "validation")}
    tracks = {split: embed_files(cache, files, labels, progress=True)[0] for split, files in clips.items()}
    key = json.loads(json.dumps([tracks["train"].key, tracks["validation"].key, asdict(SETTINGS)]))
    if found.get("key", key) != key:
        raise ConfigError(f"{family}: the table has rows of other data or settings; give another --output, or take them out.")
    mlp = evaluate_classifier(MLPBaseline(tracks["train"], tracks["validation"], len(labels)), tracks["validation"], labels)
    found |= {"title": family, "labels": list(labels), "clips": {split: len(files) for split, files in clips.items()}}
    found |= {"mlp": mlp.accuracy, "key": key}
    rows = found.setdefault("rows", [])
    done = [row["choice"] for row in rows]
    for number, choice in enumerate(wanted, 1):
        if asdict(choice) not in done:
            rows += tried(choice, labels, tracks)
            keep()
            print(f"{family} {number}/{len(wanted)}: {rows[-2]['accuracy']:.3f}, {choice}", file=sys.stderr, flush=True)
    for row in rows:
        row["chosen"] = row is chosen(rows)
    keep()


def render(families: dict[str, Any]) -> str:
    """The tables, in Markdown."""
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(TABLE).render(families=families, steps=SETTINGS.steps)


def main(argv: Sequence[str] | None = None) -> None:
    """Search, and write the tables as JSON and beside it as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("families", nargs="+", metavar="FAMILY", help="folders of DATA: genres, solos, styles")
    parser.add_argument("--data", type=Path, required=True, help="folder that render_music.py and real_audio.py wrote")
    parser.add_argument("--prototypes", type=int, nargs="+", default=PROTOTYPES, metavar="K", help="default: 3 5 10")
    parser.add_argument(
        "--kernel-scales", type=float, nargs="+", default=KERNEL_SCALES, metavar="S", help="default: 1 10 20 40 60"
    )
    parser.add_argument("--output", type=Path, default=DOCS / "heads.json", help="table (default: docs/heads.json, and .md)")
    parser.add_argument("--model", help="model whose autoencoder is used (default: the embedded pecmae-mini)")
    parser.add_argument("--cache", type=Path, default=cache_root() / "embeddings", help="where embeddings are kept")
    args = parser.parse_args(argv)
    families = json.loads(args.output.read_text(encoding="utf-8")) if args.output.is_file() else {}

    wanted = choices(args.prototypes, args.kernel_scales)

    def keep() -> None:
        with atomic_write(args.output) as temporary:
            temporary.write_text(json.dumps(families, indent=1) + "\n", encoding="utf-8")

    try:
        model = PECMAE.from_pretrained(args.model)
        cache = EmbeddingCache(args.cache, model.autoencoder, model.preparation)
        for family in args.families:
            search(family, args.data / family, cache, families.setdefault(family, {}), wanted, keep)
    except (PecmaeError, FileNotFoundError) as error:
        sys.exit(str(error))
    args.output.with_suffix(".md").write_text(render(families), encoding="utf-8")


if __name__ == "__main__":
    main()
