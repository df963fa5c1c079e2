"""Model cards: from facts to the README.md of a repository, so that no figure or label is typed twice."""

import json
import math
import os
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from jinja2 import Environment, StrictUndefined

from pecmae.core.configs import FORMAT_VERSION, read_json, read_json_config
from pecmae.core.files import read_text
from pecmae.core.options import refuse_unknown
from pecmae.errors import ConfigError
from pecmae.hub.card_marks import BEGIN, END, adopted, renewed
from pecmae.hub.resolve import CARD_FILE, EDITS_FILE, embedded_autoencoder
from pecmae.hub.zoo import find_entry, is_embedded

TAGS = ("audio", "music", "interpretability", "prototypes")
PIPELINE_TAGS = {"model": "audio-classification", "autoencoder": "feature-extraction"}

SUMMARIES = {
    "model": "An audio classifier whose reasons can be heard.",
    "autoencoder": "An autoencoder of music: audio to one vector a segment, and back.",
    "embeddings": "A classifier of embeddings by prototypes that stand for training segments.",
}

# True of every member of a family, whatever its data.
MODEL_LIMITS = (
    "It knows the classes above and nothing else: audio of any other kind still gets one of these labels.",
    "A score says how the model weighs the classes against each other; it is no calibrated probability.",
    "A sonified prototype is what the decoder generates from it, with the decoder's own flaws; it is no recording "
    "of the training data.",
)
AUTOENCODER_LIMITS = (
    "Each segment becomes a single vector: what is generated from it resembles the segment, it does not restore it.",
    "Mono only, at the codec's sampling rate.",
)
# Of a model without a decoder: nothing is generated.
EMBEDDING_LIMITS = MODEL_LIMITS[:2]
LIMITS = {"model": MODEL_LIMITS, "autoencoder": AUTOENCODER_LIMITS}

CITATION = """\
@inproceedings{alonso2024pecmae,
  title     = {Leveraging Pre-Trained Autoencoders for Interpretable Prototype Learning of Music Audio},
  author    = {Alonso-Jim{\\'e}nez, Pablo and Pepino, Leonardo and Batlle-Roca, Roser and Zinemanas, Pablo and
               Bogdanov, Dmitry and Serra, Xavier and Rocamora, Mart{\\'i}n},
  booktitle = {ICASSP Workshop on Explainable AI for Speech and Audio (XAI-SA)},
  year      = {2024},
  note      = {arXiv:2402.09318}
}

@article{pepino2023encodecmae,
  title   = {{EnCodecMAE}: Leveraging Neural Codecs for Universal Audio Representation Learning},
  author  = {Pepino, Leonardo and Riera, Pablo and Ferrer, Luciana},
  journal = {arXiv:2309.07391},
  year    = {2023}
}

@article{defossez2022encodec,
  title   = {High Fidelity Neural Audio Compression},
  author  = {D{\\'e}fossez, Alexandre and Copet, Jade and Synnaeve, Gabriel and Adi, Yossi},
  journal = {arXiv:2210.13438},
  year    = {2022}
}"""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One figure measured with this package, and the command that measures it again."""

    value: float
    metric_name: str
    # As the Hub writes it, e.g. "accuracy".
    metric_type: str
    dataset_name: str
    # A Hub data set id, or a short name where the data is not on the Hub.
    dataset_type: str
    split: str
    command: str


@dataclass(frozen=True, kw_only=True)
class PaperResult:
    """One figure of the paper: class-normalised accuracy in percent, as printed there."""

    model: str
    dataset: str
    accuracy: float


@dataclass(frozen=True, kw_only=True)
class ModelCardFacts:
    """What a card says; everything that is not a fact about the model is in the template."""

    name: str
    # One sentence; by default what is true of the family.
    summary: str | None = None
    license: str = "apache-2.0"
    labels: tuple[str, ...] = ()
    # Of each class where they differ.
    prototypes_per_class: int | tuple[int, ...] | None = None
    adaptor: bool = True
    segment_seconds: float | None = None
    # A Hub id or a name of the zoo; None when the autoencoder is inside the repository.
    autoencoder: str | None = None
    # What makes embeddings, of a model over those of another one; "" where it has no name, None where there is an autoencoder.
    encoder: str | None = None
    # The commit, tag or branch of it that the model was fitted on.
    autoencoder_revision: str | None = None
    # What `from_pretrained` is called with; None is the embedded model.
    load_id: str | None = "DIRECTORY_OR_HUB_ID"
    training_data: str = "Its author has not described it."
    # Name and value of what decided the weights beside the data.
    training_settings: tuple[tuple[str, str], ...] = ()
    metrics: tuple[Measurement, ...] = ()
    paper_results: tuple[PaperResult, ...] = ()
    # A section of its own, in Markdown, of what was measured.
    evidence: str | None = None
    # What was done to its prototypes by hand, in words.
    edits: tuple[str, ...] = ()
    # In addition to the family's own.
    limits: tuple[str, ...] = ()
    # Set where no weights exist: the command that would make them.
    make_command: str | None = None
    # Where an autoencoder's published weights come from.
    source_url: str | None = None


def facts_from_directory(directory: str | os.PathLike[str], **facts: Any) -> ModelCardFacts:
    """Collect what the configuration of a saved model says.

    Parameters
    ----------
    directory : str or os.PathLike
        A model directory.
    **facts
        Further fields of `ModelCardFacts`; they win over the configuration.

    Raises
    ------
    ConfigError
        The directory holds no readable model configuration.
    """
    directory = Path(directory)
    config = read_json_config(directory / "config.json", format_version=FORMAT_VERSION)
    if "labels" not in config or "head" not in config:
        raise ConfigError(f"{directory}: this is no model with labels; give the directory of a model.")
    counts = config["head"]["prototypes_per_class"]
    found: dict[str, Any] = {
        "name": directory.resolve().name,
        "labels": tuple(config["labels"]),
        "prototypes_per_class": tuple(counts) if isinstance(counts, list) else counts,
        "adaptor": config["head"]["adaptor"],
    }
    if (directory / EDITS_FILE).is_file():
        found["edits"] = _edits_in_words(read_json(directory / EDITS_FILE, "save the model again."))
    if "encoder" in config:
        return card_facts({**found, **_encoder_facts(config["encoder"]), **facts})
    if config["autoencoder"] is not None:
        found["autoencoder"] = config["autoencoder"]["repo_id"]
        found["autoencoder_revision"] = config["autoencoder"]["revision"]
    if config["autoencoder"] is None or is_embedded(config["autoencoder"]["repo_id"]):
        folder = embedded_autoencoder() if config["autoencoder"] else directory / "autoencoder"
        found["segment_seconds"] = read_json_config(folder / "config.json", format_version=FORMAT_VERSION)["segment_seconds"]
    return card_facts({**found, **facts})


def _encoder_facts(encoder: Mapping[str, Any] | None) -> dict[str, Any]:
    """What a model over somebody else's embeddings says of what makes them."""
    if encoder is None:
        return {"encoder": "", "summary": SUMMARIES["embeddings"]}
    return {"encoder": encoder["name"], "segment_seconds": encoder["segment_seconds"], "summary": SUMMARIES["embeddings"]}


def _edits_in_words(log: Mapping[str, Any]) -> tuple[str, ...]:
    """What a log of edits says, the earliest first."""
    earlier = _edits_in_words(log["earlier"]) if "earlier" in log else ()
    insisted = " (although accuracy fell significantly)"
    return (*earlier, *(f"{entry['text']}{insisted if entry['insisted'] else ''}" for entry in log["edits"]))


def card_facts(facts: Mapping[str, Any]) -> ModelCardFacts:
    """Facts by name as a record.

    Raises
    ------
    TypeError
        There is no such fact.
    """
    refuse_unknown("The card", facts, [field.name for field in fields(ModelCardFacts)])
    return ModelCardFacts(**facts)


def render_card(template_name: Literal["model", "autoencoder"], data: ModelCardFacts) -> str:
    """Render a card: metadata for the Hub in a YAML header, then text.

    Parameters
    ----------
    template_name : {"model", "autoencoder"}
        The family; each has a template among the package's assets.
    data : ModelCardFacts
        What the card says.

    Returns
    -------
    str
        The whole README.md.

    Raises
    ------
    ConfigError
        There is no such template, or a model has no labels.
    """
    if template_name not in PIPELINE_TAGS:
        raise ConfigError(f"template_name={template_name!r} is not known; choose one of {', '.join(PIPELINE_TAGS)}.")
    if template_name == "model" and not data.labels:
        raise ConfigError(f"{data.name}: the card of a model names its classes; fill in labels.")
    template = (files("pecmae") / "assets" / "cards" / f"{template_name}.md.j2").read_text(encoding="utf-8")
    # Markdown, not HTML: nothing is escaped. A name that the template uses and the facts lack is an error, not an empty string.
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    text = environment.from_string(template).render(
        facts=data,
        summary=data.summary or SUMMARIES[template_name],
        limits=(*data.limits, *(EMBEDDING_LIMITS if data.encoder is not None else LIMITS[template_name])),
        metadata=_metadata(template_name, data).to_yaml(),
        load_argument=_python_string(data.load_id),
        first_label=_python_string(data.labels[0] if data.labels else None),
        citation=CITATION,
        begin=BEGIN,
        end=END,
    )
    # Parsing the result proves that the header is YAML the Hub can read, with results that it accepts.
    return str(ModelCard(text))


def saved_card(existing: Sequence[Path], render: Callable[[], str], facts: Mapping[str, Any], *, unchanged: bool) -> str:
    """The card of a model that is saved: what people wrote in an earlier one stays.

    Parameters
    ----------
    existing : sequence of Path
        Directories in which earlier cards may lie: where the model goes to, and where it came from.
    render : callable
        Makes the card anew.
    facts : mapping
        That the caller has for the card; with none but `load_id` and an `unchanged` model the earlier card is still true.
    unchanged : bool
        Whether the model is the one that the last of the earlier cards describes.
    """
    existing = [path / CARD_FILE for path in dict.fromkeys(path.resolve() for path in existing)]
    cards = [read_text(path) for path in existing if path.is_file()]
    if not cards:
        return render()
    news = facts.keys() - {"load_id"}
    if unchanged and not news and existing[-1].is_file():
        described = adopted(cards[-1], facts.get("load_id"))
        if len(cards) == 1:
            return described
        if BEGIN in described:
            return renewed(cards[0], described)
    return renewed(cards[0], render(), license_given="license" in news)


def dataset_type(name: str) -> str:
    """How the Hub's metadata calls a data set that is not on the Hub: never empty, in whatever script its name is."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-") or "own-data"


def _metadata(template_name: str, data: ModelCardFacts) -> ModelCardData:
    if empty := [name for name in ("name", "license") if not getattr(data, name).strip()]:
        raise ConfigError(f"{data.name or 'card'}: {empty[0]} is empty, which the Hub refuses; fill it in.")
    for measured in data.metrics:
        if not (measured.dataset_name.strip() and measured.dataset_type.strip() and math.isfinite(measured.value)):
            raise ConfigError(f"{data.name}: {measured} has no data set or no number, which the Hub refuses; fill it in.")
    results = [
        EvalResult(
            task_type=PIPELINE_TAGS[template_name],
            dataset_type=measured.dataset_type,
            dataset_name=measured.dataset_name,
            dataset_split=measured.split,
            metric_type=measured.metric_type,
            metric_name=measured.metric_name,
            metric_value=measured.value,
        )
        for measured in data.metrics
    ]
    return ModelCardData(
        model_name=data.name if results else None,
        eval_results=results or None,
        base_model=_base_model(data.autoencoder),
        library_name="pecmae",
        license=data.license,
        pipeline_tag=PIPELINE_TAGS[template_name],
        tags=list(TAGS),
    )


def _base_model(autoencoder: str | None) -> str | None:
    """Return the Hub repository that the autoencoder comes from; the Hub shows models under it."""
    if autoencoder is None:
        return None
    entry = find_entry(autoencoder)
    if entry is not None:
        return entry.repo_id
    return autoencoder if autoencoder.count("/") == 1 else None


def _python_string(value: str | None) -> str:
    """Return `value` as a Python literal in double quotes; None as no argument at all."""
    return "" if value is None else json.dumps(value, ensure_ascii=False)
