"""Sizes and choices of the models as frozen dataclasses, read strictly: an unknown or missing key is an error that names it."""

import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, fields
from numbers import Real
from typing import Any, Self, TypeVar, cast

from pecmae.errors import ConfigError

# Of the model directories this version writes; one written by a newer version is refused.
FORMAT_VERSION = 1

DISTANCE_REDUCTIONS = ("mean", "sum")
CODEC_DECODERS = ("encodec", "istft")
CLASSIFICATION_LOSSES = ("cross_entropy", "binary_cross_entropy")

# Marks a field that older files lack; its default is what they mean.
ADDED_LATER = {"added_later": True}


@dataclass(frozen=True, kw_only=True)
class AutoencoderConfig:
    """Sizes of an autoencoder; the defaults are the published 4-second one."""

    sampling_rate: int = 24_000
    # Length of a segment: what is encoded to one z, and what is generated from it.
    segment_seconds: float = 4.0
    # Codec: features F, filters of the encoder's and of the decoder's outermost convolution, strides from the decoder's first
    # to its last, LSTM depth.
    feature_dim: int = 128
    codec_num_filters: int = 32
    codec_decoder_num_filters: int = 32
    codec_upsampling_ratios: tuple[int, ...] = (8, 5, 4, 2)
    codec_num_lstm_layers: int = 2
    # What makes sound of features: "encodec", the published decoder, or "istft" (`ISTFTDecoder`); and the latter's
    # width, ConvNeXt blocks, and spectra for each codec frame. Each ignores the sizes of the other.
    codec_decoder: str = field(default="encodec", metadata=ADDED_LATER)
    istft_dim: int = field(default=384, metadata=ADDED_LATER)
    istft_num_layers: int = field(default=8, metadata=ADDED_LATER)
    istft_upsampling: int = field(default=4, metadata=ADDED_LATER)
    # Width D of all transformers (and of z), and the hidden width of their feed-forwards.
    embedding_dim: int = 768
    feed_forward_dim: int = 4096
    num_encoder_layers: int = 10
    num_encoder_heads: int = 12
    num_summarizer_layers: int = 2
    num_denoiser_layers: int = 8
    # Heads of the summarizer and of the denoiser.
    num_heads: int = 8
    # What `generate` does unless told otherwise: steps, weight of the condition (1: the conditional branch alone), share of
    # the steps, the first ones, that are guided. docs/sampling.md shows why these.
    num_inference_steps: int = 8
    guidance_scale: float = 2.0
    guidance_stop: float = 0.625

    def __post_init__(self) -> None:
        check_positive(self, but=("guidance_scale",))
        if self.guidance_stop > 1:
            raise ConfigError(f"guidance_stop={self.guidance_stop} must be above 0 and at most 1.")
        check_choice("codec_decoder", self.codec_decoder, CODEC_DECODERS)
        if self.codec_decoder == "istft" and self.hop_length % (2 * self.istft_upsampling):
            raise ConfigError(
                f"istft_upsampling={self.istft_upsampling} must divide half of the codec's hop of {self.hop_length} samples."
            )
        for name in ("num_encoder_heads", "num_heads"):
            if self.embedding_dim % getattr(self, name):
                raise ConfigError(f"embedding_dim={self.embedding_dim} must be a multiple of {name}={getattr(self, name)}.")
        if self.segment_samples % self.hop_length:
            raise ConfigError(
                f"segment_seconds={self.segment_seconds} is {self.segment_samples} samples, not a whole number of codec frames "
                f"of {self.hop_length} samples; choose another length."
            )

    @property
    def hop_length(self) -> int:
        """Samples between two codec frames."""
        return math.prod(self.codec_upsampling_ratios)

    @property
    def segment_samples(self) -> int:
        """Samples in a segment."""
        return round(self.segment_seconds * self.sampling_rate)

    @property
    def segment_frames(self) -> int:
        """Codec frames T in a segment."""
        return self.segment_samples // self.hop_length


@dataclass(frozen=True, kw_only=True)
class PrototypeHeadConfig:
    """Sizes and choices of a prototype head; the defaults are the published code's."""

    embedding_dim: int
    num_classes: int
    prototypes_per_class: int = 10
    # Whether prototypes pass through the adaptor (PECMAE) or are used as they are (PECMAE-NA).
    adaptor: bool = True
    # Hidden width of the adaptor's feed-forward.
    adaptor_dim: int = 2048
    # How the squared differences over D become a distance: "mean" (published code) or "sum" (paper).
    distance_reduction: str = "mean"
    # s of the similarity S = exp(-s · distance). The published code and the paper have s = 1 and differ by their reduction; the
    # larger s, the nearer a segment must lie to a prototype to speak for it.
    kernel_scale: float = field(default=1.0, metadata=ADDED_LATER)
    # Which loss the logits were trained with, and what they are divided by in it: both decide how logits become scores.
    classification_loss: str = "cross_entropy"
    temperature: float = 0.1

    def __post_init__(self) -> None:
        check_positive(self)
        check_choice("distance_reduction", self.distance_reduction, DISTANCE_REDUCTIONS)
        check_choice("classification_loss", self.classification_loss, CLASSIFICATION_LOSSES)

    @property
    def num_prototypes(self) -> int:
        """M, the prototypes of all classes."""
        return self.num_classes * self.prototypes_per_class


@dataclass(frozen=True)
class AutoencoderReference:
    """Where an autoencoder that several models share can be loaded from."""

    # A Hub id or a name of the zoo.
    repo_id: str
    # A commit, a tag or a branch; none: the main branch.
    revision: str | None = None


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """What a model directory's config.json holds beside the hashes of its weights."""

    labels: tuple[str, ...]
    head: PrototypeHeadConfig
    # Scalars of the training set, see `PrototypeHead`.
    mean: float
    std: float
    # None: the autoencoder is inside the directory.
    autoencoder: AutoencoderReference | None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "labels": list(self.labels),
            "head": config_to_dict(self.head),
            "normalisation": {"mean": self.mean, "std": self.std},
            "autoencoder": asdict(self.autoencoder) if self.autoencoder else None,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], source: str) -> Self:
        """Read the JSON values found in `source` (named in errors).

        Raises
        ------
        ConfigError
            A key is missing, unknown, or of another type.
        """
        check_keys(values, {"labels", "head", "normalisation", "autoencoder"}, source)
        labels, normalisation, reference = values["labels"], values["normalisation"], values["autoencoder"]
        if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
            raise ConfigError(f"{source}: labels should be a list of names; restore it or save the model again.")
        check_keys(normalisation, {"mean", "std"}, f"{source}: normalisation")
        if not all(is_of_type(value, float) for value in normalisation.values()) or not normalisation["std"] > 0:
            raise ConfigError(f"{source}: normalisation should hold a number mean and a positive std; save the model again.")
        head = config_from_dict(PrototypeHeadConfig, values["head"], f"{source}: head")
        if len(labels) != head.num_classes or len(set(labels)) != len(labels):
            raise ConfigError(
                f"{source}: {len(labels)} labels ({len(set(labels))} different) for {head.num_classes} classes; "
                "restore them or save the model again."
            )
        if reference is not None:
            check_keys(reference, {"repo_id", "revision"}, f"{source}: autoencoder")
            if not isinstance(reference["repo_id"], str) or not isinstance(reference["revision"], str | None):
                raise ConfigError(f"{source}: autoencoder should hold repo_id and revision as text; save the model again.")
        return cls(
            labels=tuple(labels),
            head=head,
            mean=float(normalisation["mean"]),
            std=float(normalisation["std"]),
            autoencoder=AutoencoderReference(**reference) if reference else None,
        )


Config = TypeVar("Config")


def config_to_dict(config: Any) -> dict[str, Any]:
    """Plain JSON values of a dataclass `config`."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(config).items()}


def config_from_dict(kind: type[Config], values: Mapping[str, Any], source: str) -> Config:
    """Build a `kind` from the JSON values found in `source` (named in errors).

    Raises
    ------
    ConfigError
        A key is missing, unknown, or of another type than the field's. Only what was `ADDED_LATER` may be missing.
    """
    known = {item.name: item for item in fields(cast(Any, kind))}
    check_keys(values, set(known), source, optional={name for name, item in known.items() if "added_later" in item.metadata})
    converted: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    for name, value in converted.items():
        expected: Any = getattr(known[name].type, "__origin__", known[name].type)
        if not is_of_type(value, expected):
            raise ConfigError(f"{source}: {name}={values[name]!r} should be of type {expected.__name__}.")
    return kind(**converted)


def check_keys(values: Any, known: set[str], source: str, optional: Collection[str] = ()) -> None:
    """Refuse what is no object with exactly the `known` keys, but for the `optional` ones."""
    if not isinstance(values, Mapping):
        raise ConfigError(f"{source}: {values!r} should be an object with {', '.join(sorted(known))}; save the model again.")
    if unknown := sorted(set(values) - known):
        raise ConfigError(f"{source}: unknown setting {unknown[0]!r}; it was written by another version of pecmae or by hand.")
    if missing := sorted(known - set(values) - set(optional)):
        raise ConfigError(f"{source}: the setting {missing[0]!r} is missing; restore it or save the model again.")


def is_of_type(value: Any, expected: Any) -> bool:
    """Whether a JSON value is of a field's type."""
    # In Python a bool is an int, and JSON writes 4.0 as 4 as often as not.
    if isinstance(value, bool) or expected is bool:
        return isinstance(value, bool) and expected is bool
    return isinstance(value, int | float) if expected is float else isinstance(value, expected)


def check_positive(config: object, but: tuple[str, ...] = ()) -> None:
    """Refuse numbers that are not above 0 (NaN too), alone or in tuples."""
    for name, value in vars(config).items():
        if name in but or isinstance(value, str | bool):
            continue
        numbers = value if isinstance(value, tuple) else (value,)
        if not numbers or not all(isinstance(number, Real) and float(number) > 0 for number in numbers):
            raise ConfigError(f"{name}={value!r} must be above 0.")


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Refuse a `value` that is none of the `choices`."""
    if value not in choices:
        raise ConfigError(f"{name}={value!r} is not known; choose one of {', '.join(choices)}.")
