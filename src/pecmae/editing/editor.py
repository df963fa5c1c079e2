"""An editor: a model, labelled tracks that edits are measured on, and what was done so far.

Shapes: N segments, D width, C classes, M prototypes.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from pecmae.editing.draft import Draft
from pecmae.editing.edits import Edit, Refit, Remove
from pecmae.editing.effect import Effect
from pecmae.editing.log import edit_log, read_edits
from pecmae.editing.measured import Measured
from pecmae.editing.sources import Tracks
from pecmae.errors import ConfigError, PecmaeError
from pecmae.model import PECMAE
from pecmae.prototypes.refitting import fitted_linear


class EditRefused(PecmaeError, ValueError):
    """An edit that would lower accuracy significantly and that nobody insisted on."""

    def __init__(self, message: str, effect: Effect) -> None:
        super().__init__(message)
        self.effect = effect


@dataclass(frozen=True, eq=False)
class Done:
    """An edit that was applied."""

    edit: Edit
    text: str
    # Whether it was applied although accuracy fell.
    insisted: bool
    draft: Draft  # after it


class Editor:
    """Edits prototypes of a model, which itself stays as it is.

    Parameters
    ----------
    model : PECMAE
    tracks : Tracks
        Labelled tracks: those that edits are measured on and, if there are any, those that the model learned from.
    """

    def __init__(self, model: PECMAE, tracks: Tracks) -> None:
        self.model = model
        self.tracks = tracks
        self.original = Draft.of(model.head, model.labels)
        # The tracks that edits are measured on.
        self.measured = Measured(tracks.measured)
        self._training = None if tracks.training is None else Measured(tracks.training)
        self._done: list[Done] = []
        self._undone: list[Done] = []

    @property
    def draft(self) -> Draft:
        """The head as it stands."""
        return self._done[-1].draft if self._done else self.original

    @property
    def history(self) -> tuple[Done, ...]:
        """What was done and not undone, the oldest first."""
        return tuple(self._done)

    @property
    def undone(self) -> tuple[Done, ...]:
        """What can be done again, the next first."""
        return tuple(reversed(self._undone))

    def preview(self, edit: Edit) -> Effect:
        """What an edit would do; nothing is changed.

        Raises
        ------
        ConfigError
            It cannot be done.
        """
        return self.compare(self.draft, edit.apply(self.draft))

    def apply(self, edit: Edit, *, insist: bool = False) -> Effect:
        """Do an edit.

        Parameters
        ----------
        edit : Edit
        insist : bool
            Do it even if accuracy falls significantly.

        Raises
        ------
        ConfigError
            It cannot be done.
        EditRefused
            Accuracy falls significantly, by this edit alone or by this and earlier ones that each fell a little; nothing is
            changed. The error's `effect` says what would have happened.
        """
        after = edit.apply(self.draft)
        effect = self.compare(self.draft, after)
        if not insist and self.is_refused(effect, after):
            total = self.compare(self._reference, after)
            worse = effect if effect.falls else total
            raise EditRefused(f"{edit.describe(self.draft)}: {worse}. Insist on it if that is what you want.", worse)
        self._done.append(Done(edit, edit.describe(self.draft), insist and self.is_refused(effect, after), after))
        self._undone.clear()
        return effect

    def is_refused(self, effect: Effect, after: Draft) -> bool:
        """Whether an edit with this effect, that leads to `after`, is only done when the caller insists."""
        return effect.falls or (effect.difference < 0 and self.compare(self._reference, after).falls)

    @property
    def _reference(self) -> Draft:
        """What small losses add up from: the last draft that somebody insisted on, or the original."""
        return next((done.draft for done in reversed(self._done) if done.insisted), self.original)

    def undo(self) -> str:
        """Undo the last edit; returns what it was, in words.

        Raises
        ------
        ConfigError
            There is none.
        """
        if not self._done:
            raise ConfigError("There is nothing to undo.")
        self._undone.append(self._done.pop())
        return self._undone[-1].text

    def redo(self) -> str:
        """Do the edit again that was undone last; returns what it was, in words.

        Raises
        ------
        ConfigError
            There is none.
        """
        if not self._undone:
            raise ConfigError("There is nothing to do again.")
        self._done.append(self._undone.pop())
        return self._done[-1].text

    def compare(self, before: Draft, after: Draft) -> Effect:
        """What lies between two drafts, on the tracks that edits are measured on."""
        return Effect(self.measured.evaluate(before), self.measured.evaluate(after))

    def total(self) -> Effect:
        """What all edits together did."""
        return self.compare(self.original, self.draft)

    def removal(self, prototype: int) -> Remove:
        """Taking a prototype out so that what it gives to the average track stays; see `Remove`."""
        average = self.choosing.averages(self.draft)[:, self.draft.row(prototype)].double().mean()
        return Remove(prototype, float(average))

    def refitted(self, penalty: float = 1e-3, draft: Draft | None = None) -> Refit:
        """The linear layer fitted anew on the training tracks, as an edit that can be looked at and applied.

        Parameters
        ----------
        penalty : float
            Of the squared distance to the weights as they are, see `pecmae.prototypes.refitting.refit_linear`.
        draft : Draft, optional
            Whose prototypes; as they stand by default.

        Raises
        ------
        ConfigError
            The editor has no training tracks, or the penalty is negative.
        """
        training, draft = self.training, self.draft if draft is None else draft
        linear = nn.utils.skip_init(nn.Linear, len(draft.ids), len(draft.labels))
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(draft.weight))
            linear.bias.copy_(torch.from_numpy(draft.bias))
        fitted = fitted_linear(training.similarities(draft), training.tracks.labels, linear, draft.config, penalty)
        return Refit(fitted.weight.numpy(), fitted.bias.numpy(), penalty)

    @property
    def has_training(self) -> bool:
        """Whether there are tracks to fit the linear layer on."""
        return self._training is not None

    @property
    def training(self) -> Measured:
        """Training tracks.

        Raises
        ------
        ConfigError
            There are none.
        """
        if self._training is None:
            raise ConfigError("The editor has no training tracks; give labelled tracks with a train split.")
        return self._training

    @property
    def choosing(self) -> Measured:
        """Tracks that choices are made by, so that they are not made by those that they are measured on, where that can be."""
        return self.measured if self._training is None else self._training

    def nearest(self, prototype: int, count: int = 5) -> list[tuple[int, str, float, np.ndarray]]:
        """Training segments nearest to a prototype, each of another track: those that `Move` may put it on.

        Returns
        -------
        list of (int, str, float, np.ndarray [shape=(D,)])
            Number of the segment, name of its track, its first second (NaN: not known), and its z.
        """
        chosen = self.choosing
        similarities = chosen.similarities(self.draft)[:, self.draft.row(prototype)]
        tracks, found, seen = chosen.tracks, [], set[int]()
        for segment in similarities.argsort(descending=True).tolist():
            track = int(tracks.tracks[segment])
            if track in seen:
                continue
            seen.add(track)
            offset = float("nan") if tracks.offsets is None else float(tracks.offsets[segment])
            found.append((segment, tracks.names[track] if tracks.names else str(track), offset, tracks.z[segment].numpy()))
            if len(found) == count:
                break
        return found

    def log(self) -> dict[str, Any]:
        """What was done, as JSON values; `pecmae.editing.replay` does it again to the same model."""
        done = [(done.edit, done.text, done.insisted) for done in self._done]
        return edit_log(self.original, done, self.draft, self.model.edit_log)

    def resume(self, log: Mapping[str, Any]) -> None:
        """Do again what a log says; see `pecmae.editing.replay` for the errors."""
        draft, done = self.original, []
        for edit, insisted in read_edits(log, self.original):
            text, draft = edit.describe(draft), edit.apply(draft)
            done.append(Done(edit, text, insisted, draft))
        self._done, self._undone = done, []

    def edited(self) -> PECMAE:
        """The model as it stands: the same autoencoder, the edited head, and the log of what was done."""
        if not self._done:
            return self.model
        return self.model.with_head(self.draft.head(), self.draft.labels, edit_log=self.log())

    def save_pretrained(self, directory: str | os.PathLike[str]) -> None:
        """Write the edited model's directory, with `edits.json`; its card says that it was edited and how."""
        self.edited().save_pretrained(directory)
        if self._done:
            seconds = self.model.autoencoder.config.segment_seconds
            self.tracks.describe(self.draft, self.original, seconds).save(Path(directory))
