"""What can be done to prototypes. An edit is data: applied to the same draft it gives the same weights, bit for bit.

Shapes: D width, C classes, M prototypes.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import numpy as np

from pecmae.editing.draft import Draft
from pecmae.errors import ConfigError


class Edit(ABC):
    """One change; prototypes are named by the numbers that they keep (`Draft.ids`)."""

    @abstractmethod
    def apply(self, draft: Draft) -> Draft:
        """The draft after it.

        Raises
        ------
        ConfigError
            It cannot be done to this draft.
        """

    @abstractmethod
    def describe(self, draft: Draft) -> str:
        """What it does to this draft, in words."""


@dataclass(frozen=True)
class Remove(Edit):
    """Take a prototype out.

    With a wide kernel all audio is similar to all prototypes: most of what one gives to a class is the same for every track,
    and taking it away tips the balance of the classes. What it gives at an average similarity can stay, in the biases; then
    only what it tells tracks apart by is lost.
    """

    prototype: int
    # Similarity, from 0 to 1, at which what it gives to the classes stays; 0: nothing stays. See `Editor.removal`.
    average: float = 0.0

    def apply(self, draft: Draft) -> Draft:  # noqa: D102  # of Edit
        if not 0 <= self.average <= 1:
            raise ConfigError(f"average={self.average} is no similarity; give a number from 0 to 1.")
        row = draft.row(self.prototype)
        stays = np.float64(self.average) * draft.weight[:, row].astype(np.float64)
        return replace(draft.without(row), bias=(draft.bias.astype(np.float64) + stays).astype(np.float32))

    def describe(self, draft: Draft) -> str:  # noqa: D102  # of Edit
        return f"remove {draft.name(self.prototype)}"


@dataclass(frozen=True)
class Merge(Edit):
    """Make one prototype of several: in their middle, of the first one's class and number.

    It speaks for each class as much as all of them together did, so that nothing changes where they were the same.
    """

    prototypes: tuple[int, ...]

    def apply(self, draft: Draft) -> Draft:  # noqa: D102  # of Edit
        if len(set(self.prototypes)) < 2:
            raise ConfigError(f"{len(set(self.prototypes))} prototype cannot be merged; name two or more different ones.")
        rows = [draft.row(prototype) for prototype in self.prototypes]
        middle = draft.prototypes[rows].astype(np.float64).mean(0).astype(np.float32)
        column = draft.weight[:, rows].astype(np.float64).sum(1).astype(np.float32)
        merged = draft
        for prototype in self.prototypes[1:]:
            merged = merged.without(merged.row(prototype))
        prototypes, weight, row = merged.prototypes.copy(), merged.weight.copy(), merged.row(self.prototypes[0])
        prototypes[row], weight[:, row] = middle, column
        return replace(merged, prototypes=prototypes, weight=weight)

    def describe(self, draft: Draft) -> str:  # noqa: D102  # of Edit
        return f"merge {' and '.join(map(draft.name, self.prototypes))}"


@dataclass(frozen=True, eq=False)
class Add(Edit):
    """Add a prototype to a class. It speaks as the class's others do on average."""

    label: str
    z: np.ndarray  # (D,) of a moment of a recording, or the centre of several
    # Where z comes from, for people.
    source: str = ""

    def apply(self, draft: Draft) -> Draft:  # noqa: D102  # of Edit
        label = draft.label_index(self.label)
        column = _average(draft.weight[:, draft.prototype_labels == label], 1)
        return draft.with_prototype(draft.next_id, draft.normalised(_one(self.z)), label, column)

    def describe(self, draft: Draft) -> str:  # noqa: D102  # of Edit
        return f"add a prototype to {self.label}{_from(self.source)}"


@dataclass(frozen=True, eq=False)
class Move(Edit):
    """Put a prototype somewhere else; it speaks for classes as before."""

    prototype: int
    z: np.ndarray  # (D,)
    source: str = ""

    def apply(self, draft: Draft) -> Draft:  # noqa: D102  # of Edit
        prototypes = draft.prototypes.copy()
        prototypes[draft.row(self.prototype)] = draft.normalised(_one(self.z))
        return replace(draft, prototypes=prototypes)

    def describe(self, draft: Draft) -> str:  # noqa: D102  # of Edit
        return f"move {draft.name(self.prototype)}{_from(self.source, 'to')}"


@dataclass(frozen=True)
class ChangeClass(Edit):
    """Give a prototype to another class: what it said for the one it now says for the other, and the other way round."""

    prototype: int
    label: str

    def apply(self, draft: Draft) -> Draft:  # noqa: D102  # of Edit
        row, new = draft.row(self.prototype), draft.label_index(self.label)
        old = int(draft.prototype_labels[row])
        column = draft.weight[:, row].copy()
        column[[old, new]] = column[[new, old]]
        return draft.without(row).with_prototype(self.prototype, draft.prototypes[row], new, column)

    def describe(self, draft: Draft) -> str:  # noqa: D102  # of Edit
        return f"make {draft.name(self.prototype)} a prototype of {self.label}"


@dataclass(frozen=True)
class RenameClass(Edit):
    """Call a class by another name."""

    label: str
    name: str

    def apply(self, draft: Draft) -> Draft:  # noqa: D102  # of Edit
        index = draft.label_index(self.label)
        return replace(draft, labels=(*draft.labels[:index], _new(self.name, draft), *draft.labels[index + 1 :]))

    def describe(self, draft: Draft) -> str:  # noqa: D102  # of Edit
        return f"call {self.label} {self.name}"


@dataclass(frozen=True, eq=False)
class AddClass(Edit):
    """Add a class with a prototype for each z. They speak for it, and for the others, as prototypes do on average."""

    label: str
    z: np.ndarray  # (n, D)
    source: str = ""

    def apply(self, draft: Draft) -> Draft:  # noqa: D102  # of Edit
        name, positions = _new(self.label, draft), draft.normalised(self.z)
        if positions.ndim != 2 or not len(positions):
            raise ConfigError(f"z of shape {positions.shape} makes no class; give one row for each prototype.")
        own = np.arange(len(draft.labels))[:, None] == draft.prototype_labels  # (C, M)
        of_own, of_others = _average(draft.weight[own], 0), _average(draft.weight[~own], 0) if (~own).any() else np.float32(0)
        # The others speak for the new class as a prototype does for a class that is not its own.
        weight = np.vstack([draft.weight, np.full(draft.weight.shape[1], of_others, np.float32)])
        bias = np.append(draft.bias, _average(draft.bias, 0)).astype(np.float32)
        grown = replace(draft, labels=(*draft.labels, name), weight=weight, bias=bias)
        column = np.full(len(grown.labels), of_others, np.float32)
        column[-1] = of_own
        for position in positions:
            grown = grown.with_prototype(grown.next_id, position, len(draft.labels), column)
        return grown

    def describe(self, draft: Draft) -> str:  # noqa: D102  # of Edit
        return f"add the class {self.label} with {len(self.z)} prototypes{_from(self.source)}"


@dataclass(frozen=True)
class SetWeight(Edit):
    """Set what a similarity of 1 to a prototype gives to a class."""

    prototype: int
    label: str
    weight: float

    def apply(self, draft: Draft) -> Draft:  # noqa: D102  # of Edit
        if not abs(self.weight) <= float(np.finfo(np.float32).max):  # NaN too
            raise ConfigError(f"The weight {self.weight} is no finite number; give one, such as 0.")
        weight = draft.weight.copy()
        weight[draft.label_index(self.label), draft.row(self.prototype)] = self.weight
        return replace(draft, weight=weight)

    def describe(self, draft: Draft) -> str:  # noqa: D102  # of Edit
        return f"let {draft.name(self.prototype)} give {self.weight:+.3g} to {self.label}"


@dataclass(frozen=True, eq=False)
class Refit(Edit):
    """Set the whole linear layer, as `Editor.refitted` found it."""

    weight: np.ndarray  # (C, M)
    bias: np.ndarray  # (C,)
    penalty: float

    def apply(self, draft: Draft) -> Draft:  # noqa: D102  # of Edit
        weight, bias = np.asarray(self.weight, np.float32), np.asarray(self.bias, np.float32)
        if weight.shape != draft.weight.shape or bias.shape != draft.bias.shape:
            raise ConfigError(
                f"A linear layer of shape {weight.shape} does not fit {draft.weight.shape}; it was fitted before another edit."
            )
        if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
            raise ConfigError("The linear layer holds NaN or infinity; fit it again.")
        return replace(draft, weight=weight, bias=bias)

    def describe(self, draft: Draft) -> str:  # noqa: D102  # of Edit
        return f"fit the linear layer again (penalty {self.penalty:g})"


@dataclass(frozen=True, eq=False)
class Together(Edit):
    """Several edits as one: done, and undone, at once."""

    edits: tuple[Edit, ...]
    reason: str

    def apply(self, draft: Draft) -> Draft:  # noqa: D102  # of Edit
        for edit in self.edits:
            draft = edit.apply(draft)
        return draft

    def describe(self, draft: Draft) -> str:  # noqa: D102  # of Edit
        parts = []
        for edit in self.edits:
            parts.append(edit.describe(draft))
            draft = edit.apply(draft)
        return f"{self.reason}: {', '.join(parts)}"


def _average(values: np.ndarray, axis: int) -> np.ndarray:
    # In float64: the same float32 whatever order the numbers are added in.
    return values.astype(np.float64).mean(axis).astype(np.float32)


def _one(z: np.ndarray) -> np.ndarray:
    if np.ndim(z) != 1:
        raise ConfigError(f"z of shape {np.shape(z)} is not one prototype; give one row of what model.embed returns.")
    return z


def _new(name: str, draft: Draft) -> str:
    if not name.strip() or not name.isprintable() or name in draft.labels:
        raise ConfigError(f"{name!r} cannot be the name of a class; give a name that has letters and that no class has.")
    return name


def _from(source: str, word: str = "from") -> str:
    return f" {word} {source}" if source else ""
