"""After training: prototypes set onto training segments, and the linear layer fitted alone.

Shapes: N segments, D width, M prototypes, C classes.
"""

import copy
import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from pecmae.data.tracks import EmbeddedTracks
from pecmae.errors import ConfigError
from pecmae.prototypes.config import PrototypeHeadConfig
from pecmae.prototypes.head import PrototypeHead
from pecmae.prototypes.losses import classification_loss

MAX_ITERATIONS = 200


def check_penalty(penalty: float) -> None:
    """Refuse a penalty that is negative, infinite or no number, with a ConfigError."""
    if not 0 <= penalty < math.inf:
        raise ConfigError(f"The penalty of the linear layer is {penalty:g}; give a number from 0 on, such as 0.001.")


@torch.no_grad()
def project_prototypes(head: PrototypeHead, data: EmbeddedTracks) -> PrototypeHead:
    """Set every prototype onto a training segment of its class, as ProtoPNet does (arXiv 1806.10574, section 3.1).

    A prototype then is a moment of a recording: it sounds as that moment does when its z is decoded, and is no average that
    the decoder never met. Each takes the z of the segment that it lies nearest to; prototypes of a class take different ones,
    so that the sum of their distances is the least. The adaptor has moved the prototypes to where they are in training and is
    not needed any more.

    Parameters
    ----------
    head : PrototypeHead
    data : EmbeddedTracks
        Training segments; every class needs at least K of them.

    Returns
    -------
    PrototypeHead
        Without adaptor, with the linear layer as it was.
    """
    # Imported here: only fitting needs it.
    from scipy.optimize import linear_sum_assignment

    z = data.z.to(head.prototypes.device)
    distances, labels = head.distances(z).cpu(), data.labels.cpu()  # (N, M), (N,)
    rows = torch.empty(head.config.num_prototypes, dtype=torch.int64)
    for label in range(head.config.num_classes):
        segments, own = (labels == label).nonzero()[:, 0], (head.prototype_labels.cpu() == label).nonzero()[:, 0]
        chosen, prototypes = linear_sum_assignment(distances[segments][:, own].numpy())
        rows[own[prototypes]] = segments[chosen]
    projected = PrototypeHead(replace(head.config, adaptor=False), mean=float(head.mean), std=float(head.std))
    projected.prototypes.copy_(head.normalise(z[rows]))
    projected.linear.load_state_dict(head.linear.state_dict())
    return projected.to(head.prototypes.device).requires_grad_(False).train(head.training)


def refit_linear(head: PrototypeHead, data: EmbeddedTracks, penalty: float = 1e-3) -> None:
    """Fit how much each prototype speaks for each class, in place; the prototypes and their sounds stay the same.

    Training asks prototypes to lie near their class and to tell classes apart at once: the more it asks for the second, the
    further they leave what they shall stand for. The weights can tell classes apart, too, and that is a convex problem (as
    the last step of ProtoPNet's training, arXiv 1806.10574). Also of use after prototypes were changed by hand.

    Parameters
    ----------
    head : PrototypeHead
    data : EmbeddedTracks
        Training segments.
    penalty : float
        Of the squared distance to the weights and biases as they are, beside the mean classification loss of the segments. So
        a weight changes where that pays, and a prototype goes on speaking for its own class.

    Raises
    ------
    ConfigError
        See `check_penalty`.
    """
    with torch.no_grad():
        similarities = head.similarities(data.z.to(head.prototypes.device))  # (N, M)
    fitted = fitted_linear(similarities, data.labels.to(similarities.device), head.linear, head.config, penalty)
    head.linear.load_state_dict(fitted.state_dict())


def fitted_linear(
    similarities: Tensor, labels: Tensor, linear: nn.Linear, config: PrototypeHeadConfig, penalty: float = 1e-3
) -> nn.Linear:
    """Fit a linear layer on similarities that are known already; errors as for `refit_linear`.

    Parameters
    ----------
    similarities : Tensor [shape=(N, M)]
    labels : Tensor [shape=(N,), int64]
    linear : nn.Linear
        From M to C: where it starts, and what the penalty measures from; it is not changed.
    config : PrototypeHeadConfig
        Whose loss is minimised.
    penalty : float
        See `refit_linear`.
    """
    check_penalty(penalty)
    with torch.no_grad():
        start = torch.cat([linear.weight, linear.bias[:, None]], 1)  # (C, M + 1)
        inputs = torch.cat([similarities, similarities.new_ones(len(similarities), 1)], 1)  # (N, M + 1)
        root = _inverse_root(inputs, config, penalty)
    # Similarities to prototypes of a class rise and fall together. In coordinates in which the loss is about as steep in every
    # direction the same minimum takes a quarter of the steps.
    change = torch.zeros_like(start, requires_grad=True)
    optimizer = torch.optim.LBFGS([change], max_iter=MAX_ITERATIONS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        moved = change @ root  # (C, M + 1)
        loss = classification_loss(inputs @ (start + moved).T, labels, config) + penalty * moved.square().sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(closure)
    fitted = copy.deepcopy(linear).requires_grad_(False)
    with torch.no_grad():
        end = start + change @ root
        fitted.weight.copy_(end[:, :-1])
        fitted.bias.copy_(end[:, -1])
    return fitted


def _inverse_root(inputs: Tensor, config: PrototypeHeadConfig, penalty: float) -> Tensor:
    """A^(-1/2) [shape=(M + 1, M + 1)], A being about the second derivative of the penalised loss by a class's weights."""
    # A score's slope is p · (1 - p), of the order of a tenth where it matters.
    slope = 0.1 / config.temperature**2 if config.classification_loss == "cross_entropy" else 0.1
    curvature, directions = torch.linalg.eigh((inputs.T @ inputs).double() * (slope / len(inputs)))
    steepness = (curvature.clamp_min(0) + 2 * penalty).clamp_min(1e-9 * float(curvature.max()))
    return (directions * steepness.rsqrt() @ directions.T).to(inputs.dtype)
