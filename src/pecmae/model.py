"""PECMAE: audio in, a label and the prototypes behind it out; and the prototypes as sound.

Shapes: S segments, N samples, D width, C classes, K prototypes per class, M = C · K prototypes.
"""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self, Unpack

import numpy as np
import torch
from huggingface_hub import ModelHubMixin

from pecmae.audio.players import Players, players
from pecmae.audio.preparation import PREPARED, Preparation, Survey
from pecmae.audio.segments import AudioSource, iter_segments
from pecmae.autoencoder.config import AutoencoderReference
from pecmae.autoencoder.decoding import sonified
from pecmae.autoencoder.embedding import TrackEmbedding
from pecmae.autoencoder.model import Autoencoder, SamplingOptions
from pecmae.autoencoder.sampling import VDiffusionSolver, load_solver
from pecmae.classifier import TrackClassifier
from pecmae.core.devices import answering, pick_device, pick_dtype
from pecmae.core.files import save_directory_atomically, user_path, write_json
from pecmae.errors import ConfigError
from pecmae.hub.download import DownloadOptions, PushOptions, check_options, named_repository
from pecmae.hub.resolve import EDITS_FILE, SPLITS_FILE, resolve_model
from pecmae.model_files import (
    lasting,
    load_autoencoder,
    model_config,
    read_calibration,
    read_edit_log,
    read_model,
    write_card,
    write_model,
)
from pecmae.prototypes.calibration import Calibration
from pecmae.prototypes.counterfactuals import STOPS, Counterfactual, shortest_walk
from pecmae.prototypes.explanations import Explanation
from pecmae.prototypes.head import PrototypeHead
from pecmae.prototypes.neighbours import carry_neighbours

if TYPE_CHECKING:
    from pecmae.autoencoder.scheduler import VDiffusionScheduler


class PECMAE(TrackClassifier, ModelHubMixin, library_name="pecmae", tags=["audio-classification", "music", "interpretability"]):
    """A frozen autoencoder and a prototype head.

    One loaded model may answer many threads at once (`predict`, `embed`, `explain`, `sonify`), as long as none of them changes
    it. It answers the same in training mode, inside `torch.autocast` and under any default type of torch. In a process that is
    forked off after loading it computes on one thread; on a GPU, start workers with "spawn" instead.

    Parameters
    ----------
    autoencoder : Autoencoder
    head : PrototypeHead
    labels : sequence of str
        Names of the classes, in the head's order.
    autoencoder_reference : AutoencoderReference, optional
        Where the autoencoder can be loaded from. With it, a saved model names it; without, a saved model contains it.
    preparation : Preparation
        How sound is prepared: as it was when the head was fitted. It can be changed later; `PUBLISHED` is what the published
        code does, nothing.
    calibration : Calibration, optional
        What is known of its answers; without it they have no probability. It can be changed later.
    """

    def __init__(
        self,
        autoencoder: Autoencoder,
        head: PrototypeHead,
        labels: Sequence[str],
        autoencoder_reference: AutoencoderReference | None = None,
        preparation: Preparation = PREPARED,
        calibration: Calibration | None = None,
    ) -> None:
        super().__init__(head, labels, preparation, calibration)
        if head.config.embedding_dim != autoencoder.config.embedding_dim:
            raise ConfigError(
                f"The head takes z of width {head.config.embedding_dim} but the autoencoder makes "
                f"{autoencoder.config.embedding_dim}; they belong to different models."
            )
        self.autoencoder = autoencoder
        self.autoencoder_reference = autoencoder_reference
        self._solver: VDiffusionSolver | None = None
        self.eval()

    @property
    def encoder(self) -> Autoencoder:
        """The autoencoder, whose encoding half makes z."""
        return self.autoencoder

    @property
    def scheduler(self) -> "VDiffusionScheduler":
        """The sampler that sonifies; assign another one to change it."""
        # Imported here: diffusers takes longer to import than a few sounds take to make, which its arithmetic alone can.
        from pecmae.autoencoder.scheduler import VDiffusionScheduler

        scheduler = self.solver
        if not isinstance(scheduler, VDiffusionScheduler):
            scheduler = self._solver = VDiffusionScheduler(scheduler.algorithm_type)
        return scheduler

    @scheduler.setter
    def scheduler(self, scheduler: "VDiffusionScheduler") -> None:
        self._solver = scheduler

    def with_head(self, head: PrototypeHead, labels: Sequence[str], *, edit_log: Mapping[str, Any] | None = None) -> "PECMAE":
        """A model with another head on the same autoencoder, which it shares; `edit_log` says how the head came about."""
        head = head.to(self.head.prototypes.device)
        model = PECMAE(self.autoencoder, head, labels, self.autoencoder_reference, self.preparation)
        model._solver, model.edit_log = self.solver, edit_log
        return model

    @property
    def solver(self) -> VDiffusionSolver:
        """The arithmetic of `scheduler`."""
        if self._solver is None:
            self._solver = load_solver(self._directory / "scheduler") if self._directory else VDiffusionSolver()
        return self._solver

    def sonify(
        self,
        labels: str | Sequence[str] | None = None,
        *,
        prototype: int | None = None,
        seed: int = 0,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        guidance_stop: float | None = None,
    ) -> np.ndarray:
        """Decode prototypes to sound.

        The noise that a prototype starts from depends on the seed and on the prototype alone, so it sounds the same whichever
        others it is decoded with.

        Parameters
        ----------
        labels : str or sequence of str, optional
            Classes; all of them by default.
        prototype : int, optional
            One prototype of each class, 0 … K-1; all K by default.
        seed : int
            Same seed, same sound.
        num_inference_steps, guidance_scale, guidance_stop : optional
            As for `Autoencoder.generate`.

        Returns
        -------
        np.ndarray [shape=(prototypes, samples)]
            float32 at `sampling_rate`, class by class. Sound that would clip is scaled down.

        Raises
        ------
        ValueError
            There is no such class or prototype.
        """
        chosen = [(index, seed) for index in self.prototype_indices(labels, prototype)]
        sounds = self.sonify_each(
            chosen, num_inference_steps=num_inference_steps, guidance_scale=guidance_scale, guidance_stop=guidance_stop
        )
        return np.stack(list(sounds))

    def sonify_each(self, sounds: Sequence[tuple[int, int]], **options: Unpack[SamplingOptions]) -> Iterator[np.ndarray]:
        """`sonify`, for a row of the prototypes (see `prototype_indices`) and a seed for each sound.

        Sounds come one after the other, though many are made together: what there is can be kept when a long run is stopped.

        Parameters
        ----------
        sounds : sequence of (int, int)
            Prototype, 0 … M-1, and seed.
        **options
            As for `Autoencoder.generate`; the model's own `scheduler` by default.

        Yields
        ------
        np.ndarray [shape=(samples,)]
        """
        options = {"scheduler": self.solver, **options}
        return sonified(self.autoencoder, self.head.projected_prototypes(), sounds, **options)

    def explain(self, source: AudioSource, *, sampling_rate: int | None = None, batch_size: int | None = None) -> Explanation:
        """Tell what each prototype gave to each class's logit; parameters and errors as for `predict`, one track only."""
        explanation = super().explain(source, sampling_rate=sampling_rate, batch_size=batch_size)
        return replace(explanation, listen=lambda: self._reasons(explanation, source, sampling_rate))

    def counterfactual(
        self,
        source: "AudioSource | TrackEmbedding",
        label: str,
        *,
        segment: int | None = None,
        sampling_rate: int | None = None,
        seed: int = 0,
        **options: Unpack[SamplingOptions],
    ) -> Counterfactual:
        """Tell what would have to be different for a track to be called `label`, and make it audible.

        z walks towards prototypes of that class until the label flips; on the way it is decoded at `STOPS`, always from the
        same noise, and each sound is given back to the model. How far it has to go is the margin of the label.

        Parameters
        ----------
        source : path, array or TrackEmbedding
            As for `predict`, or what `embed_track` returns.
        label : str
            Another class than the predicted one.
        segment : int, optional
            Walk with this segment alone; by default the whole track walks, and the segment that spoke most for its label is
            heard.
        sampling_rate : int, optional
            Of an array, in Hz.
        seed : int
            Of the noise.
        **options
            As for `Autoencoder.generate`.

        Raises
        ------
        ValueError
            There is no such class or segment, or the track is called that already.
        PecmaeError
            No walk flips the label.
        """
        track = source if isinstance(source, TrackEmbedding) else self.embed_track(source, sampling_rate=sampling_rate)
        if segment is not None and not 0 <= segment < len(track.z):
            raise ValueError(f"segment={segment} does not exist; the track has {len(track.z)}, numbered from 0.")
        chosen = slice(None) if segment is None else slice(segment, segment + 1)
        z, weights = track.z[chosen], track.weights[chosen]
        walk = shortest_walk(self.head, self.labels, z, label, weights=weights if weights.any() else None)
        own = self.head.in_float32()(z.to(self.head.prototypes.device))[:, self.labels.index(walk.label)].detach().cpu()
        heard = int(own.argmax())
        points = walk.z[:, heard].to(self.autoencoder.device)  # (stops, D)
        latents = self.autoencoder.draw_latents(1, torch.Generator().manual_seed(seed)).expand(len(points), -1, -1)
        settings: SamplingOptions = {"scheduler": self.solver, **options}
        with answering(self.autoencoder.device):
            sounds = self.autoencoder.decode(points, latents=latents, **settings).float().cpu().numpy()
            again = self.head.in_float32()(self.autoencoder.encode(torch.from_numpy(self.preparation.centre(sounds))))
        scores = self.head.scores(torch.from_numpy(walk.logits)).tolist()
        return Counterfactual(
            label=walk.label,
            rival=walk.rival,
            stops=STOPS,
            scores=tuple(dict(zip(self.labels, row, strict=True)) for row in scores),
            sounds=sounds,
            heard_as=tuple(self.labels[index] for index in again.argmax(1).tolist()),
            sampling_rate=self.sampling_rate,
            segment=heard if segment is None else segment,
            prototype=self.prototype_name(int(walk.prototypes[heard])),
            distance=walk.distance,
            share=walk.share,
        )

    def listen(self, labels: str | Sequence[str] | None = None, *, prototype: int | None = None, seed: int = 0) -> Players:
        """Sonify prototypes for a notebook, which shows them as players; parameters and errors as for `sonify`."""
        rows = self.prototype_indices(labels, prototype)
        titles = [self.prototype_name(row) for row in rows]
        return players(titles, list(self.sonify_each([(row, seed) for row in rows])), self.sampling_rate)

    def _reasons(self, explanation: Explanation, source: AudioSource, sampling_rate: int | None, count: int = 3) -> Players:
        """The segments and the prototypes that decided, as sound: those of the largest parts of the label's logit."""
        row = explanation.contributions[self.labels.index(explanation.label)]
        best = np.argsort(-row, kind="stable")[:count]
        nearest = explanation.segment_similarities[:, best].argmax(0)  # (count,)
        config = self.autoencoder.config
        cut = iter_segments(
            source,
            segment_samples=config.segment_samples,
            target_rate=config.sampling_rate,
            sampling_rate=sampling_rate,
            survey=Survey(self.preparation, config.segment_samples, config.sampling_rate),
        )
        wanted = {number: segment.samples for number, segment in enumerate(cut) if number in nearest}
        titles, sounds = [], []
        for m, number, sound in zip(best, nearest, self.sonify_each([(int(m), 0) for m in best]), strict=True):
            name, within = explanation.names[m]
            if number in wanted:
                titles.append(f"segment {number + 1}")
                sounds.append(wanted[number])
            titles.append(f"{name} {within} ({row[m]:+.2f})")
            sounds.append(sound)
        return players(titles, sounds, self.sampling_rate)

    @classmethod
    def from_pretrained(  # type: ignore[override]  # an unknown option is an error here
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str] | None = None,
        *,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype = "auto",
        autoencoder: Autoencoder | None = None,
        **options: Unpack[DownloadOptions],
    ) -> Self:
        """Load a model.

        Parameters
        ----------
        pretrained_model_name_or_path : str or path, optional
            A Hub id, a directory, the name of an embedded model (`pecmae models`), or nothing: pecmae-mini.
        device : str or torch.device, optional
            A GPU if there is one, by default.
        dtype : str or torch.dtype
            Of the autoencoder's weights, as for `Autoencoder.from_pretrained`. The head is always float32.
        autoencoder : Autoencoder, optional
            One that is loaded already, for models that share it.
        **options
            revision, cache_dir, force_download, local_files_only, token: as in huggingface_hub.

        Raises
        ------
        FileNotFoundError, HubError, ConfigError, CheckpointError
            It cannot be found, fetched or read; the message says what to do.
        TypeError
            There is no such option.
        """
        check_options(options, cls.from_pretrained)
        directory = resolve_model(pretrained_model_name_or_path, **options)
        config, head = read_model(directory)
        target = pick_device(device)
        if autoencoder is None:
            autoencoder = load_autoencoder(directory, config.autoencoder, device=target, dtype=dtype, **options)
        model = cls(autoencoder, head.to(target), config.labels, lasting(config.autoencoder), config.preparation)
        model._directory = directory.absolute()
        model.edit_log = read_edit_log(directory)
        model.calibration = read_calibration(directory, model.head)
        return model

    def save_pretrained(  # type: ignore[override]  # an unknown option is an error here
        self,
        save_directory: str | os.PathLike[str],
        *,
        dtype: str | torch.dtype | None = None,
        model_card_kwargs: Mapping[str, Any] | None = None,
        config: None = None,
    ) -> None:
        """Write the model's directory, whole or not at all: configuration, weights, scheduler, card.

        The autoencoder is written into it unless `autoencoder_reference` says where it can be loaded from. What training left
        beside the weights (`pecmae.prototypes.neighbours`) goes along while the head is the same, up to rounding; so does
        the calibration.

        Parameters
        ----------
        save_directory : path
        dtype : str or torch.dtype, optional
            Stored precision, such as "float16"; as it is by default.
        model_card_kwargs : mapping, optional
            Facts for the card, see `pecmae.hub.cards.ModelCardFacts`.
        config : None
            Of huggingface_hub's mixin, which calls this to push; the model knows its own.
        """
        stored = None if dtype is None else pick_dtype(dtype)
        with save_directory_atomically(save_directory) as folder:
            written = model_config(self.head, self.labels, self.autoencoder_reference, self.preparation)
            write_model(folder, written, self.head, self.autoencoder, self.scheduler, stored)
            if self.calibration is not None and self.calibration.describes(self.head):
                self.calibration.save(folder)
            # It describes these weights and no others.
            if self._directory:
                carry_neighbours(self._directory, folder)
                if (record := self._directory / SPLITS_FILE).is_file():
                    shutil.copyfile(record, folder / SPLITS_FILE)
            if self.edit_log is not None:
                write_json(folder / EDITS_FILE, self.edit_log)
            write_card(folder, user_path(save_directory).resolve(), self._directory, model_card_kwargs or {})

    def push_to_hub(  # type: ignore[override]  # an unknown option is an error here
        self, repo_id: str, **options: Unpack[PushOptions]
    ) -> str:
        """Save the model into a repository on the Hub; its card says how to load it from there.

        Parameters
        ----------
        repo_id : str
            `owner/name`, or a name of your own; the repository is made where there is none.
        **options
            commit_message, private, token, branch, create_pr, allow_patterns, ignore_patterns, delete_patterns: as in
            huggingface_hub; and model_card_kwargs, as for `save_pretrained`.

        Returns
        -------
        str
            Address of the commit.
        """
        return super().push_to_hub(**named_repository(repo_id, options))
