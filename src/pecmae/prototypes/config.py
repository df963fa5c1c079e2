"""Sizes and choices of a prototype head."""

from dataclasses import dataclass, field

from pecmae.core.configs import ADDED_LATER, check_choice, check_numbers
from pecmae.errors import ConfigError

DISTANCE_REDUCTIONS = ("mean", "sum")
CLASSIFICATION_LOSSES = ("cross_entropy", "binary_cross_entropy")


@dataclass(frozen=True, kw_only=True)
class PrototypeHeadConfig:
    """Sizes and choices of a prototype head; the defaults are the published code's."""

    embedding_dim: int
    num_classes: int
    # K of every class; or, in a head whose prototypes were edited, the number of each class's in the order of the classes.
    prototypes_per_class: int | tuple[int, ...] = 10
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
        check_numbers(self, at_most={"temperature": 1e6, "kernel_scale": 1e6})
        check_choice("distance_reduction", self.distance_reduction, DISTANCE_REDUCTIONS)
        check_choice("classification_loss", self.classification_loss, CLASSIFICATION_LOSSES)
        if not isinstance(self.prototypes_per_class, tuple):
            return
        if len(self.prototypes_per_class) != self.num_classes:
            raise ConfigError(
                f"prototypes_per_class has {len(self.prototypes_per_class)} numbers for {self.num_classes} classes; "
                "give one number, or one for each class."
            )
        if len(set(self.prototypes_per_class)) == 1:  # one way to write what is the same
            object.__setattr__(self, "prototypes_per_class", self.prototypes_per_class[0])

    @property
    def most_parameters(self) -> int:
        """A number of parameters that no head of this configuration has more of, from its sizes alone."""
        width, inner = self.embedding_dim, self.adaptor_dim
        adaptor = 2 * width * (width + inner + 8) + 2 * inner if self.adaptor else 0
        return self.num_prototypes * width + self.num_classes * (self.num_prototypes + 1) + adaptor + 2

    @property
    def num_prototypes(self) -> int:
        """M, the prototypes of all classes."""
        if isinstance(self.prototypes_per_class, int):
            return self.num_classes * self.prototypes_per_class
        return sum(self.prototypes_per_class)

    @property
    def prototype_counts(self) -> tuple[int, ...]:
        """Prototypes of each class [length C]."""
        if isinstance(self.prototypes_per_class, int):
            return (self.prototypes_per_class,) * self.num_classes
        return self.prototypes_per_class

    def rows_of(self, label: int) -> range:
        """Rows of a class's prototypes among all M."""
        first = sum(self.prototype_counts[:label])
        return range(first, first + self.prototype_counts[label])
