"""A prototype head over embeddings of somebody else's making: the same answers and pages, without a decoder.

Shapes: N segments, D width, C classes, M prototypes.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, Unpack

import numpy as np
import torch
from torch import Tensor

from pecmae.audio.players import Players, players
from pecmae.audio.preparation import PREPARED, Preparation
from pecmae.autoencoder.embedding import TrackEmbedding
from pecmae.classifier import TrackClassifier
from pecmae.core.configs import FORMAT_VERSION, check_keys, is_of_type, read_model_config
from pecmae.core.devices import pick_device
from pecmae.core.files import save_directory_atomically, user_path
from pecmae.core.weights import load_module, save_weights
from pecmae.errors import ConfigError, PecmaeError
from pecmae.evaluation.tracks import Evaluation, evaluate_embedded
from pecmae.hub.download import DownloadOptions, check_options
from pecmae.hub.resolve import resolve_model
from pecmae.interop.encoders import CallableEncoder
from pecmae.interop.labelled_embeddings import embedded_tracks
from pecmae.model_files import EMBEDDING_MODEL_TYPE, ModelConfig, model_config, read_calibration, write_card
from pecmae.prototypes.calibration import Calibration
from pecmae.prototypes.example_sounds import ExampleSounds
from pecmae.prototypes.explanations import Explanation, explanation_of
from pecmae.prototypes.head import PrototypeHead
from pecmae.prototypes.neighbours import Neighbours


@dataclass(frozen=True)
class _Stored:
    """What config.json says beside that of any model."""

    config: ModelConfig
    encoder: Mapping[str, Any] | None


class EmbeddingModel(TrackClassifier):
    """A prototype head over embeddings that another model made: MERT, CLAP, MAEST, a table of features.

    It classifies, explains, evaluates, saves and loads as `pecmae.PECMAE` does. It has no decoder: what a prototype stands for
    is heard by the training segments nearest to it, where their audio was given.

    Parameters
    ----------
    head : PrototypeHead
    labels : sequence of str
    encoder : CallableEncoder, optional
        What makes embeddings of sound; without it the model takes embeddings alone.
    preparation : Preparation
        How sound is prepared for the encoder.
    calibration : Calibration, optional
    example_sounds : ExampleSounds, optional
        Of the training segments nearest to the prototypes.
    neighbours : Neighbours, optional
        Those segments by name.
    """

    def __init__(
        self,
        head: PrototypeHead,
        labels: Sequence[str],
        *,
        encoder: CallableEncoder | None = None,
        preparation: Preparation = PREPARED,
        calibration: Calibration | None = None,
        example_sounds: ExampleSounds | None = None,
        neighbours: Neighbours | None = None,
    ) -> None:
        super().__init__(head, labels, preparation, calibration)
        self._encoder = encoder
        self.example_sounds: ExampleSounds = example_sounds or ExampleSounds({}, 1)
        self.neighbours = neighbours
        self.eval()

    @property
    def encoder(self) -> CallableEncoder:
        """What makes embeddings of sound.

        Raises
        ------
        ConfigError
            There is none, nor is it known at which rate it would listen.
        """
        if self._encoder is None:
            raise ConfigError("This model takes embeddings and cannot make them of sound; load it with encoder=….")
        return self._encoder

    @encoder.setter
    def encoder(self, encoder: CallableEncoder | None) -> None:
        self._encoder = encoder

    @property
    def _segment(self) -> tuple[int, int]:
        """Samples of a segment and their rate; a second each, where nothing is known of the sound."""
        return (1, 1) if self._encoder is None else (self._encoder.segment_samples, self._encoder.sampling_rate)

    def explain_embedded(self, track: "TrackEmbedding | Tensor | np.ndarray") -> Explanation:
        """`explain` for a track's embeddings [shape=(S, D)]; errors as for `classify`."""
        return explanation_of(self.head, self.labels, self.classify(track))

    def evaluate(self, z: "Tensor | np.ndarray", labels: Sequence[str], *, tracks: Sequence[Any] | None = None) -> Evaluation:
        """How good it is on labelled embeddings that it has not met; parameters as for `pecmae.fit_embeddings`."""
        return evaluate_embedded(self.head, self.labels, embedded_tracks(z, labels, self.labels, tracks=tracks))

    def listen(self, labels: str | Sequence[str] | None = None, *, prototype: int | None = None) -> Players:
        """Training segments nearest to prototypes, for a notebook; parameters as for `PECMAE.listen`.

        Raises
        ------
        PecmaeError
            No audio was given for them.
        """
        if not self.example_sounds.sounds:
            raise PecmaeError(
                "This model has no decoder to make its prototypes heard; fit it with audio=… to hear training segments instead."
            )
        rows = [row for row in self.prototype_indices(labels, prototype) if self.example_sounds.has(row)]
        titles = [f"nearest to {self.prototype_name(row)}" for row in rows]
        return players(titles, [self.example_sounds.get(row) for row in rows], self.example_sounds.sampling_rate)

    def sonify(self, labels: str | Sequence[str] | None = None, **options: Any) -> np.ndarray:
        """Refuse: there is no decoder.

        Raises
        ------
        PecmaeError
            Always; the message says what there is instead.
        """
        raise PecmaeError(
            "This model has no decoder, so its prototypes cannot be sonified; `listen` plays training segments near them."
        )

    def save_pretrained(
        self, save_directory: str | os.PathLike[str], *, model_card_kwargs: Mapping[str, Any] | None = None
    ) -> None:
        """Write the model's directory, whole or not at all; the encoder is named in it, not stored.

        Parameters
        ----------
        save_directory : path
        model_card_kwargs : mapping, optional
            Facts for the card, see `pecmae.hub.cards.ModelCardFacts`.
        """
        config = model_config(self.head, self.labels, None, self.preparation)
        with save_directory_atomically(save_directory) as folder:
            digest = save_weights(self.head, folder / "model.safetensors", None)
            values = {"format_version": FORMAT_VERSION, "model_type": EMBEDDING_MODEL_TYPE, **config.to_dict()}
            del values["autoencoder"]
            values["encoder"] = None if self._encoder is None else self._encoder.to_dict()
            values["sha256"] = {"model.safetensors": digest}
            (folder / "config.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
            if self.calibration is not None and self.calibration.describes(self.head):
                self.calibration.save(folder)
            if self.neighbours is not None:
                self.neighbours.save(folder)
            if self.example_sounds.sounds:
                self.example_sounds.save(folder)
            write_card(folder, user_path(save_directory).resolve(), self._directory, model_card_kwargs or {})

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str],
        *,
        encoder: Any = None,
        device: str | torch.device | None = None,
        **options: Unpack[DownloadOptions],
    ) -> Self:
        """Load a model.

        Parameters
        ----------
        pretrained_model_name_or_path : str or path
            A directory or a Hub id.
        encoder : callable, optional
            The one that it was fitted with, so that sound can be given to it; see `CallableEncoder`. The model knows rate and
            length of the segments.
        device : str or torch.device, optional
            Of the head; a GPU if there is one, by default.
        **options
            revision, cache_dir, force_download, local_files_only, token: as in huggingface_hub.

        Raises
        ------
        FileNotFoundError, HubError, ConfigError, CheckpointError
            It cannot be found, fetched or read, or the encoder is another one; the message says what to do.
        """
        check_options(options, cls.from_pretrained)
        directory = resolve_model(pretrained_model_name_or_path, **options)
        stored, head = _read(directory)
        made = _encoder(encoder, stored.encoder)
        rate = made.sampling_rate if made is not None else None
        head = head.to(pick_device(device))
        model = cls(
            head,
            stored.config.labels,
            encoder=made,
            preparation=stored.config.preparation,
            calibration=read_calibration(directory, head),
            example_sounds=None if rate is None else ExampleSounds.load(directory, rate),
            neighbours=Neighbours.load(directory),
        )
        model._directory = directory.absolute()
        return model


def _read(directory: Path) -> tuple[_Stored, PrototypeHead]:
    otherwise = "this is no model over embeddings; a model with its autoencoder is loaded with PECMAE.from_pretrained."
    values, sha256 = read_model_config(directory, EMBEDDING_MODEL_TYPE, otherwise)
    encoder = values.pop("encoder", None)
    source = str(directory / "config.json")
    if encoder is not None:
        check_keys(encoder, {"name", "sampling_rate", "segment_seconds"}, f"{source}: encoder")
        if not (isinstance(encoder["name"], str) and is_of_type(encoder["segment_seconds"], float)):
            raise ConfigError(f"{source}: encoder should hold a name and numbers; restore it or save the model again.")
    config = ModelConfig.from_dict({**values, "autoencoder": None}, source)
    head = load_module(
        lambda: PrototypeHead(config.head, mean=config.mean, std=config.std),
        directory / "model.safetensors",
        sha256,
        most_parameters=config.head.most_parameters,
    )
    return _Stored(config, encoder), head


def _encoder(given: Any, stored: Mapping[str, Any] | None) -> CallableEncoder | None:
    """The encoder that was given, checked against what the model knows of its own; one that cannot encode where none was."""
    if stored is None:
        return None if given is None else CallableEncoder.of(given)
    rate, seconds = int(stored["sampling_rate"]), float(stored["segment_seconds"])
    if given is None:
        return CallableEncoder(None, name=stored["name"], sampling_rate=rate, segment_seconds=seconds)
    for name, value in (("sampling_rate", rate), ("segment_seconds", seconds)):
        own = getattr(given, name, None)
        if own is not None and own != value:
            raise ConfigError(
                f"The encoder has {name}={own}, the model was fitted with {value}; give the one it was fitted with."
            )
    return CallableEncoder.of(given, sampling_rate=rate, segment_seconds=seconds)
