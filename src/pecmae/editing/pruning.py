"""Which prototypes can go: twins, those that no audio is close to, and those that do harm; and how many more.

Shapes: T tracks, C classes, M prototypes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from pecmae.editing.draft import Draft
from pecmae.editing.editor import Editor
from pecmae.editing.edits import Edit, Merge, Refit, Remove, Together
from pecmae.editing.effect import Effect
from pecmae.editing.measured import Measured
from pecmae.errors import ConfigError
from pecmae.prototypes.measures import duplicate_pairs

Reason = Literal["duplicate", "dead", "harmful"]
KINDS: tuple[Reason, ...] = ("duplicate", "dead", "harmful")


@dataclass(frozen=True, eq=False)
class Pruning:
    """What pruning would do, with the linear layer as it is and fitted again: which of the two to choose is seen before."""

    steps: tuple[tuple[Edit, Reason, str], ...]  # each with its reason, and what it is in words
    effect: Effect
    # None: there are no training tracks.
    refit: Refit | None
    effect_refitted: Effect | None
    prototypes_before: int
    prototypes_after: int

    @property
    def edit(self) -> Together:
        """It as one edit, with the linear layer as it is."""
        return Together(tuple(edit for edit, _, _ in self.steps), "prune")

    @property
    def edit_refitted(self) -> Together:
        """It as one edit, with the linear layer fitted again.

        Raises
        ------
        ConfigError
            There were no training tracks to fit it on.
        """
        if self.refit is None:
            raise ConfigError("The editor has no training tracks to fit the linear layer on; prune without.")
        return Together((*self.edit.edits, self.refit), "prune and refit")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "steps": [{"text": text, "reason": reason} for _, reason, text in self.steps],
            "prototypes": [self.prototypes_before, self.prototypes_after],
            "effect": self.effect.to_dict(),
            "effect_refitted": None if self.effect_refitted is None else self.effect_refitted.to_dict(),
        }


def plan_pruning(editor: Editor, kinds: tuple[Reason, ...] = KINDS) -> Pruning:
    """Find the prototypes that can go; nothing is changed.

    Twins are merged; a prototype that is the closest to no segment goes; then, one by one, the prototype without which most
    tracks are right, as long as there is one and it is not missed by the measured tracks. Candidates are found by the training
    tracks, if there are any, and none is taken that would lower accuracy on the measured ones significantly, together with
    those before it.
    """
    start = draft = editor.draft
    steps: list[tuple[Edit, Reason, str]] = []
    finders = {"duplicate": _duplicates, "dead": _dead, "harmful": _harmful}
    for kind in kinds:
        refused: set[tuple[int, ...]] = set()
        while (found := next(finders[kind](editor.choosing, draft, refused), None)) is not None:
            edit, named = found
            refused.add(named)
            after = edit.apply(draft)
            if editor.is_refused(editor.compare(start, after), after):
                continue
            # What does harm to the tracks that it was found by may be of use to others.
            if kind == "harmful" and editor.compare(draft, after).difference < 0:
                continue
            steps.append((edit, kind, edit.describe(draft)))
            draft = after
    effect = editor.compare(start, draft)
    refit = editor.refitted(draft=draft) if editor.has_training and steps else None
    refitted = None if refit is None else editor.compare(start, refit.apply(draft))
    return Pruning(tuple(steps), effect, refit, refitted, len(start.ids), len(draft.ids))


def prune(editor: Editor, kinds: tuple[Reason, ...] = KINDS) -> Pruning:
    """Do what `plan_pruning` finds, as one edit that can be undone; refitted where that is no worse on the measured tracks.

    Accuracy never falls significantly.
    """
    plan = plan_pruning(editor, kinds)
    if not plan.steps:
        return plan
    better = plan.effect_refitted is not None and plan.effect_refitted.difference >= plan.effect.difference
    editor.apply(plan.edit_refitted if better else plan.edit)
    return plan


@dataclass(frozen=True, eq=False)
class Removal:
    """A point of `removal_curve`."""

    edit: Edit  # the last one
    text: str
    prototypes: int  # that are left
    effect: Effect  # of all removals so far, with the linear layer as it is
    effect_refitted: Effect | None


def removal_curve(editor: Editor, *, refit_every: int = 1) -> Iterator[Removal]:
    """Take prototypes out one after the other, always the one that is missed least, until each class has its last.

    Which is missed least is decided by the training tracks, if there are any; nothing in the editor is changed.

    Parameters
    ----------
    editor : Editor
    refit_every : int
        The linear layer is fitted again after every this many removals, to see what that would give.
    """
    start = draft = editor.draft
    count = 0
    while (row := _least_missed(editor.choosing, draft)) is not None:
        edit = _removal(editor.choosing, draft, row)
        text, draft, count = edit.describe(draft), edit.apply(draft), count + 1
        refitted = None
        if editor.has_training and count % refit_every == 0:
            refitted = editor.compare(start, editor.refitted(draft=draft).apply(draft))
        yield Removal(edit, text, len(draft.ids), editor.compare(start, draft), refitted)


@dataclass(frozen=True, eq=False)
class Hold:
    """What hangs on each prototype: how tracks fare when it gives to all of them what it gives to the average track."""

    predicted: np.ndarray  # (T,) class numbers, with all prototypes
    without: np.ndarray  # (M, T) and without each
    accuracy: float  # mean recall, with all
    accuracy_without: np.ndarray  # (M,)

    @property
    def decisions(self) -> np.ndarray:
        """Number of tracks that get another label without each prototype [shape=(M,)]."""
        return (self.without != self.predicted).sum(1)


def hold_of(tracks: Measured, draft: Draft) -> Hold:
    """Tell what hangs on each prototype of a draft, on labelled tracks."""
    without = np.stack([logits.argmax(1) for logits in _logits_without(tracks, draft)])
    accuracy, others = _accuracies(tracks, draft)
    return Hold(tracks.evaluate(draft).predicted, without, accuracy, others)


Candidates = Iterator[tuple[Edit, tuple[int, ...]]]


def _duplicates(tracks: Measured, draft: Draft, refused: set[tuple[int, ...]]) -> Candidates:
    for a, b in duplicate_pairs(draft.head()):
        named = (draft.ids[a], draft.ids[b])
        # Twins of different classes are no duplicates: one of them stands in the wrong place, and may do harm.
        if draft.prototype_labels[a] == draft.prototype_labels[b] and named not in refused:
            yield Merge(named), named


def _dead(tracks: Measured, draft: Draft, refused: set[tuple[int, ...]]) -> Candidates:
    wins = torch.bincount(tracks.similarities(draft).argmax(1), minlength=len(draft.ids)).numpy()
    for row in np.flatnonzero((wins == 0) & _removable(draft)):
        if (draft.ids[row],) not in refused:
            yield _removal(tracks, draft, int(row)), (draft.ids[row],)


def _harmful(tracks: Measured, draft: Draft, refused: set[tuple[int, ...]]) -> Candidates:
    accuracy, without = _accuracies(tracks, draft)
    for row in np.argsort(-without, kind="stable"):
        if without[row] <= accuracy:
            return
        if _removable(draft)[row] and (draft.ids[row],) not in refused:
            yield _removal(tracks, draft, int(row)), (draft.ids[row],)


def _removal(tracks: Measured, draft: Draft, row: int) -> Remove:
    return Remove(draft.ids[row], float(tracks.averages(draft)[:, row].double().mean()))


def _removable(draft: Draft) -> np.ndarray:
    """Prototypes that are not the last of their class [shape=(M,), bool]."""
    return np.bincount(draft.prototype_labels)[draft.prototype_labels] > 1


def _logits_without(tracks: Measured, draft: Draft) -> Iterator[np.ndarray]:
    """Logits of the tracks [shape=(T, C)] when each prototype gives to all what it gives to the average track."""
    averages = tracks.averages(draft).numpy()  # (T, M)
    logits = averages @ draft.weight.T + draft.bias
    differing = averages - averages.mean(0)
    for row in range(len(draft.ids)):
        yield logits - differing[:, row, None] * draft.weight[:, row]


def _accuracies(tracks: Measured, draft: Draft) -> tuple[float, np.ndarray]:
    """Mean recall, and without each prototype [shape=(M,)]."""
    true = tracks.tracks.track_labels.numpy()
    shares = 1 / np.bincount(true)[true]  # (T,)
    share = shares / shares.sum()
    whole = float(((tracks.evaluate(draft).predicted == true) * share).sum())
    return whole, np.array([((logits.argmax(1) == true) * share).sum() for logits in _logits_without(tracks, draft)])


def _least_missed(tracks: Measured, draft: Draft) -> int | None:
    """Row of the prototype without which the tracks are labelled at the smallest loss; None: each is the last of its class."""
    from torch.nn import functional as F

    true = tracks.tracks.track_labels
    weights = 1 / torch.bincount(true)[true].float()
    best: tuple[float, int] | None = None
    for row, logits in enumerate(_logits_without(tracks, draft)):
        if not _removable(draft)[row]:
            continue
        scaled = torch.from_numpy(logits) / draft.config.temperature
        loss = float((F.cross_entropy(scaled, true, reduction="none") * weights).sum())
        best = (loss, row) if best is None or loss < best[0] else best
    return None if best is None else best[1]
