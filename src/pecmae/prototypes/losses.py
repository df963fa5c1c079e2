"""What a prototype head minimises (paper, eq. 1 and 2), in one process or in several.

Shapes: B batch, C classes, M prototypes.
"""

import torch
from torch import Tensor, distributed
from torch.nn import functional as F

from pecmae.data.tracks import EmbeddedTracks as EmbeddedTracks
from pecmae.prototypes.config import PrototypeHeadConfig
from pecmae.prototypes.head import PrototypeHead


def prototype_loss(distances: Tensor, labels: Tensor, prototype_labels: Tensor) -> Tensor:
    """L_p (paper, eq. 1): each prototype should lie near a sample of its own class.

    For each prototype the smallest distance to a sample of its class in the batch, averaged over the prototypes whose class is
    in the batch.

    Parameters
    ----------
    distances : Tensor [shape=(B, M)]
    labels : Tensor [shape=(B,), int64]
    prototype_labels : Tensor [shape=(M,), int64]

    Returns
    -------
    Tensor [shape=()]
    """
    own = labels[:, None] == prototype_labels  # (B, M)
    present = own.any(0)  # (M,)
    nearest = distances.masked_fill(~own, torch.inf).amin(0)  # (M,)
    return nearest.masked_fill(~present, 0.0).sum() / present.sum().clamp_min(1)


def classification_loss(logits: Tensor, labels: Tensor, config: PrototypeHeadConfig) -> Tensor:
    """L_c of `logits` [shape=(B, C)] for `labels` [shape=(B,), int64]: the head's configured loss.

    "cross_entropy" (published code) is of logits / temperature; "binary_cross_entropy" (paper) of one-hot targets.
    """
    if config.classification_loss == "cross_entropy":
        return F.cross_entropy(logits / config.temperature, labels)
    return F.binary_cross_entropy_with_logits(logits, F.one_hot(labels, logits.shape[1]).to(logits.dtype))


def head_loss(head: PrototypeHead, z: Tensor, labels: Tensor, weight: float = 0.25) -> tuple[Tensor, Tensor, Tensor]:
    """The training loss λ · L_c + (1 - λ) · L_p, and both of its parts.

    Parameters
    ----------
    head : PrototypeHead
    z : Tensor [shape=(B, D)]
        Normalised already (`head.normalise`), once for the whole data set.
    labels : Tensor [shape=(B,), int64]
    weight : float
        λ, the classification loss's share.
    """
    distances = head.distances_normalised(z)
    class_loss = classification_loss(head.linear(head.kernel(distances)), labels, head.config)
    own_loss = prototype_loss(distances, labels, head.prototype_labels)
    return weight * class_loss + (1 - weight) * own_loss, class_loss, own_loss


def _world() -> int:
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def mean_of_processes(*values: Tensor) -> tuple[Tensor, ...]:
    """Means over the processes of scalars, each with this process's own gradient."""
    if _world() == 1:
        return values
    own = torch.stack(values)
    total = own.detach().clone()
    distributed.all_reduce(total)
    return tuple(own + (total / _world() - own).detach())


def shared_prototype_loss(distances: Tensor, labels: Tensor, prototype_labels: Tensor) -> Tensor:
    """`prototype_loss` of the batch that all processes hold together, from each one's part of it.

    The nearest sample of a prototype may lie with any process; only that process has a gradient for it, scaled so that the mean
    over the processes, which is what training takes, is the gradient of the whole batch.
    """
    world = _world()
    if world == 1:
        return prototype_loss(distances, labels, prototype_labels)
    own = labels[:, None] == prototype_labels  # (B / world, M)
    nearest = distances.masked_fill(~own, torch.inf).amin(0)  # (M,)
    parts = [torch.empty_like(nearest) for _ in range(world)]
    distributed.all_gather(parts, nearest.detach().contiguous())
    smallest, holder = torch.stack(parts).min(0)  # (M,)
    present = smallest.isfinite()
    mine = present & (holder == distributed.get_rank())
    count = present.sum().clamp_min(1)
    share = nearest.masked_fill(~mine, 0.0).sum() * world / count
    whole = smallest.masked_fill(~present, 0.0).sum() / count
    return share + (whole - share).detach()
