"""What a head decides on the segments of a track, and what each prototype gave to the decision.

Shapes: S segments, D width, C classes, M prototypes.
"""

import numpy as np
from torch import Tensor

from pecmae.outputs import Explanation, Prediction
from pecmae.precision import answering
from pecmae.prototypes import PrototypeHead


def prediction_of(head: PrototypeHead, labels: tuple[str, ...], z: Tensor, duration: float) -> Prediction:
    """Label and scores of a track of `duration` seconds from the z of its segments [shape=(S, D)].

    Raises
    ------
    ValueError
        z has another shape, or is not finite.
    """
    if z.ndim != 2 or not len(z) or z.shape[1] != head.config.embedding_dim:
        raise ValueError(f"z has the shape {tuple(z.shape)}; give one row of {head.config.embedding_dim} values a segment.")
    if not bool(z.isfinite().all()):
        raise ValueError("z holds NaN or infinite values; embed the audio again.")
    head = head.in_float32()
    with answering(head.prototypes.device):
        similarities = head.similarities(z.to(head.prototypes.device))  # (S, M)
        segment_logits = head.linear(similarities)  # (S, C)
        logits = segment_logits.double().mean(0).float()  # (C,), the mean of a day of segments in double precision
        scores = head.scores(logits).cpu().numpy()
    order = np.argsort(-scores, kind="stable")
    return Prediction(
        label=labels[order[0]],
        score=float(scores[order[0]]),
        scores={labels[index]: float(scores[index]) for index in order},
        logits=logits.cpu().numpy(),
        segment_logits=segment_logits.cpu().numpy(),
        segment_similarities=similarities.cpu().numpy(),
        duration=duration,
    )


def explanation_of(head: PrototypeHead, labels: tuple[str, ...], prediction: Prediction) -> Explanation:
    """The parts that a prediction's logits are the sum of."""
    head = head.in_float32()
    return Explanation(
        labels=labels,
        prototype_labels=head.prototype_labels.cpu().numpy(),
        segment_similarities=prediction.segment_similarities,
        weight=head.linear.weight.detach().cpu().numpy(),
        bias=head.linear.bias.detach().cpu().numpy(),
        logits=prediction.logits,
    )
