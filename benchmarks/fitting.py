"""Steps a second of fitting prototypes on cached embeddings, beside the step of the published code.

    python benchmarks/fitting.py [--steps 200] [--threads 2]

K = 10, 10 classes, width 768, batches of 256 out of 5 000 embeddings. The other step is written as the published code is:
a plain transformer layer over prototypes of length one, all M · B · D differences, a DataLoader, torch's Adam and OneCycleLR.
"""

import argparse
import json
import time
from dataclasses import replace
from itertools import chain, islice, repeat

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from pecmae import PrototypeHeadConfig
from pecmae.embedded_tracks import EmbeddedTracks
from pecmae.fitting import HEAD_SETTINGS, HeadObjective
from pecmae.prototypes import PrototypeHead, prototype_loss
from pecmae.training import train

CLASSES, PER_CLASS, DIM, COUNT, BATCH = 10, 10, 768, 5000, 256


def embeddings() -> EmbeddedTracks:
    """Random points around a centre a class."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(COUNT) % CLASSES
    z = torch.randn(CLASSES, DIM, generator=generator)[labels] + torch.randn(COUNT, DIM, generator=generator)
    return EmbeddedTracks(z, torch.arange(COUNT), labels)


def ours(data: EmbeddedTracks, steps: int) -> float:
    """Steps a second of `train` on `HeadObjective`, all that `fit_head` does after k-means."""
    config = PrototypeHeadConfig(embedding_dim=DIM, num_classes=CLASSES, prototypes_per_class=PER_CLASS)
    objective = HeadObjective(PrototypeHead(config), data)

    def make_batch(context):
        return torch.from_numpy(context.draws.integers(COUNT, size=BATCH))

    train(objective, make_batch, replace(HEAD_SETTINGS, steps=10), None)
    started = time.perf_counter()
    train(objective, make_batch, replace(HEAD_SETTINGS, steps=steps), None)
    return steps / (time.perf_counter() - started)


def published_style(data: EmbeddedTracks, steps: int) -> float:
    """Steps a second of the step as the published code writes it."""
    prototypes = nn.Parameter(torch.randn(CLASSES * PER_CLASS, 1, DIM))
    adaptor = nn.TransformerEncoder(nn.TransformerEncoderLayer(DIM, 1, batch_first=True), 1)
    linear = nn.Linear(CLASSES * PER_CLASS, CLASSES)
    parameters = [prototypes, *adaptor.parameters(), *linear.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=1e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=steps + 10)
    prototype_labels = torch.arange(CLASSES).repeat_interleave(PER_CLASS)
    loader = DataLoader(TensorDataset(data.z, data.labels), BATCH, shuffle=True, drop_last=True)

    def step(z: torch.Tensor, labels: torch.Tensor) -> None:
        adapted = adaptor(prototypes)[:, 0]
        distances = (z[:, None] - adapted[None]).square().mean(2)
        logits = linear(torch.exp(-distances))
        loss = 0.25 * nn.functional.cross_entropy(logits / 0.1, labels) + 0.75 * prototype_loss(
            distances, labels, prototype_labels
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()

    batches = chain.from_iterable(repeat(loader))
    for batch in islice(batches, 3):
        step(*batch)
    started = time.perf_counter()
    for batch in islice(batches, steps):
        step(*batch)
    return steps / (time.perf_counter() - started)


def main() -> None:
    """Measure both in turn and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200, help="steps of ours; the other makes an eighth (default: 200)")
    parser.add_argument("--threads", type=int, default=2, help="of torch (default: 2)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    data = embeddings()
    other, own = published_style(data, max(8, args.steps // 8)), ours(data, args.steps)
    print(json.dumps({"steps_per_second": round(own, 1), "published_style": round(other, 2), "ratio": round(own / other, 1)}))


if __name__ == "__main__":
    main()
