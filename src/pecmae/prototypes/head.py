"""The prototype network: a few learned points in the space of z per class, and a linear layer over similarities to them.

Shapes: B batch, D width, C classes, K prototypes per class, M = C · K prototypes, class-major (class 0's K first). Where
prototypes were edited, classes may have different numbers of them; their order stays class-major.
"""

import copy
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pecmae.core.devices import answering
from pecmae.errors import ConfigError
from pecmae.prototypes.config import PrototypeHeadConfig


class Dropout(nn.Dropout):
    """torch's dropout, faster on the CPUs where torch draws a double for every value: 16 random bits decide here.

    So the share that is dropped is rounded to a multiple of 2⁻¹⁶. Only learning drops: what is computed without gradients is an
    answer, which a module left in training mode must not change.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Drop some of `x`, of any shape, and scale the others up; while learning."""
        if not (self.training and torch.is_grad_enabled()):
            return x
        dropped = round(self.p * 2**16)
        if self.inplace or x.device.type != "cpu" or dropped in (0, 2**16):
            return super().forward(x)
        bits = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        kept = bits.view(torch.int16)[: x.numel()].view(x.shape) >= dropped - 2**15
        return x * kept.to(x.dtype).mul_(2**16 / (2**16 - dropped))


class SingleTokenAdaptor(nn.Module):
    """A post-norm transformer layer for sequences of length one.

    Attention over one key is the identity on values, so what is left of it is value and output projection: no queries, no
    keys, no attention matrix.

    Parameters
    ----------
    dim, hidden_dim : int
        Width D and hidden width of the feed-forward.
    dropout : float
        While training.
    """

    def __init__(self, dim: int, hidden_dim: int = 2048, dropout: float = 0.1) -> None:
        super().__init__()
        self.value = nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)
        self.linear1 = nn.Linear(dim, hidden_dim)
        self.linear2 = nn.Linear(hidden_dim, dim)
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.dropout = Dropout(dropout)
        nn.init.xavier_uniform_(self.value.weight)
        for linear in (self.value, self.out):
            nn.init.zeros_(linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Adapt each of `x` [shape=(M, D)] on its own."""
        # One key has a softmax weight of 1, which the published layer's attention dropout zeroes or scales for a whole head.
        x = self.norm1(x + self.dropout(self.out(self.dropout(self.value(x)))))
        return self.norm2(x + self.dropout(self.linear2(self.dropout(self.linear1(x).relu()))))


class PrototypeHead(nn.Module):
    """Classify z by its similarity to prototypes (PECMAE; without the adaptor PECMAE-NA).

    Parameters
    ----------
    config : PrototypeHeadConfig
        Sizes and choices.
    mean, std : float
        Scalars of the training set: the mean over samples of each sample's mean and standard deviation. z is normalised
        to (z - mean) / (2 · std); the defaults make that the identity.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: PrototypeHeadConfig, *, mean: float = 0.0, std: float = 0.5) -> None:
        super().__init__()
        self.config = config
        self.prototypes = nn.Parameter(torch.empty(config.num_prototypes, config.embedding_dim))
        real = not self.prototypes.is_meta  # or sizes alone are asked for
        if real:
            nn.init.normal_(self.prototypes)
        self.adaptor = SingleTokenAdaptor(config.embedding_dim, config.adaptor_dim) if config.adaptor else nn.Identity()
        self.linear = nn.Linear(config.num_prototypes, config.num_classes)
        if real:
            self._let_prototypes_speak_for_their_class()
        if not (math.isfinite(mean) and math.isfinite(std) and std > 0):
            raise ConfigError(f"mean={mean} and std={std} do not normalise z; give finite numbers, std above 0.")
        # Kept in the configuration, not among the weights.
        self.register_buffer("mean", torch.tensor(float(mean), dtype=torch.float32), persistent=False)
        self.register_buffer("std", torch.tensor(float(std), dtype=torch.float32), persistent=False)
        self.float()  # whatever torch's default type is

    @torch.no_grad()
    def _let_prototypes_speak_for_their_class(self) -> None:
        self.linear.weight.copy_(F.one_hot(self.prototype_labels, self.config.num_classes).T)
        self.linear.bias.zero_()

    @property
    def prototype_labels(self) -> Tensor:
        """Class of each prototype [shape=(M,), int64]."""
        classes = torch.arange(self.config.num_classes)
        return classes.repeat_interleave(torch.tensor(self.config.prototype_counts)).to(self.prototypes.device)

    def normalise(self, z: Tensor) -> Tensor:
        """z' = (z - mean) / (2 · std) of `z` [shape=(B, D)]."""
        return (z - self.mean) / (2 * self.std)

    def denormalise(self, z: Tensor) -> Tensor:
        """Undo `normalise`."""
        return z * (2 * self.std) + self.mean

    def distances(self, z: Tensor) -> Tensor:
        """Squared distance of each z [shape=(B, D)] to each adapted prototype [shape=(B, M)], reduced as configured."""
        return self.distances_normalised(self.normalise(z.to(self.prototypes.dtype)))

    def distances_normalised(self, z: Tensor) -> Tensor:
        """`distances` for a z that is normalised already."""
        return squared_distances(z, self.adaptor(self.prototypes), self.config)

    def similarities(self, z: Tensor) -> Tensor:
        """S = exp(-s · distance) [shape=(B, M), in (0, 1]] of each z [shape=(B, D)] to each prototype; s is `kernel_scale`."""
        return self.kernel(self.distances(z))

    def kernel(self, distances: Tensor) -> Tensor:
        """Similarities S of `distances`, of any shape."""
        return similarities_of(distances, self.config)

    def forward(self, z: Tensor) -> Tensor:
        """Logits [shape=(B, C)] of each z [shape=(B, D)]."""
        return self.linear(self.similarities(z))

    def scores(self, logits: Tensor) -> Tensor:
        """Scores in [0, 1] of `logits` [shape=(..., C)], as the loss they were trained with reads them."""
        return scores_of(logits, self.config)

    def projected_prototypes(self) -> Tensor:
        """The adapted prototypes in z's own space [shape=(M, D)], float32, ready to be decoded."""
        head = self.in_float32()
        with answering(self.prototypes.device):
            return head.denormalise(head.adaptor(head.prototypes))

    def in_float32(self) -> "PrototypeHead":
        """Itself, or a float32 copy of a head of another type: answers are sums and exponentials that half the bits spoil."""
        return self if self.prototypes.dtype == torch.float32 else copy.deepcopy(self).float()


def squared_distances(z: Tensor, points: Tensor, config: PrototypeHeadConfig) -> Tensor:
    """Squared distance of each z [shape=(B, D)] to each point [shape=(M, D)], all normalised, reduced as configured.

    Returns
    -------
    Tensor [shape=(B, M)]
    """
    # One matrix product instead of M · B · D differences. Distances don't change when both sides move together, and
    # around the points' own centre the terms that cancel are small.
    centre = points.detach().mean(0)
    z, points = z - centre, points - centre
    squared = z.square().sum(1)[:, None] + points.square().sum(1) - 2 * z @ points.T  # (B, M)
    squared = squared.clamp_min(0.0)
    return squared / z.shape[1] if config.distance_reduction == "mean" else squared


def similarities_of(distances: Tensor, config: PrototypeHeadConfig) -> Tensor:
    """Similarities S of `distances`, of any shape."""
    return torch.exp(-config.kernel_scale * distances)


def scores_of(logits: Tensor, config: PrototypeHeadConfig) -> Tensor:
    """Scores in [0, 1] of `logits` [shape=(..., C)], as the loss they were trained with reads them."""
    if config.classification_loss == "cross_entropy":
        return (logits / config.temperature).softmax(-1)
    return logits.sigmoid()
