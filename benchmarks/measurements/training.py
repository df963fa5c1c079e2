"""Steps a second of fitting prototypes on cached embeddings, beside the step of the published code.

K = 10, 10 classes, width 768, batches of 256 out of 5 000 embeddings. The other step is written as the published code is: a
plain transformer layer over prototypes of length one, all M · B · D differences, a DataLoader, torch's Adam and OneCycleLR.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import chain, islice, repeat

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from measurements.products import Product, product_runs, total_flop
from measurements.subjects import compared
from measurements.table import Row
from measurements.timing import interleaved
from pecmae import PrototypeHeadConfig
from pecmae.data.tracks import EmbeddedTracks
from pecmae.prototypes.fitting import CLASS_LOSS_WEIGHT, HEAD_SETTINGS, HeadObjective
from pecmae.prototypes.head import PrototypeHead
from pecmae.prototypes.losses import head_loss, prototype_loss
from pecmae.training.loop import train

# K = 10, at the full model's width.
PUBLISHED = PrototypeHeadConfig(embedding_dim=768, num_classes=10)


@dataclass(frozen=True)
class Sizes:
    """Of the measurement; the defaults are the published settings."""

    head: PrototypeHeadConfig = PUBLISHED
    count: int = 5000
    batch: int = 256


class PublishedHead(nn.Module):
    """The prototype network as the published code writes it, with the weights of `head`."""

    def __init__(self, head: PrototypeHead) -> None:
        super().__init__()
        dim, config = head.config.embedding_dim, head.config
        layer = nn.TransformerEncoderLayer(dim, 1, config.adaptor_dim, batch_first=True)
        self.prototypes = nn.Parameter(head.prototypes.detach().clone()[:, None])
        self.adaptor = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.linear = nn.Linear(config.num_prototypes, config.num_classes)
        self.linear.load_state_dict(head.linear.state_dict())
        weights = head.adaptor.state_dict()
        published = self.adaptor.layers[0].state_dict()
        for name in published:
            if not name.startswith("self_attn"):
                published[name] = weights[name]
        # Queries and keys of a single token change nothing; the published layer computes them all the same.
        published["self_attn.in_proj_weight"][2 * dim :] = weights["value.weight"]
        published["self_attn.in_proj_bias"][2 * dim :] = weights["value.bias"]
        published |= {f"self_attn.out_proj.{name}": weights[f"out.{name}"] for name in ("weight", "bias")}
        self.adaptor.layers[0].load_state_dict(published)
        self.prototype_labels = head.prototype_labels

    def loss(self, z: Tensor, labels: Tensor) -> Tensor:
        """λ · L_c + (1 - λ) · L_p of normalised z [shape=(B, D)]."""
        adapted = self.adaptor(self.prototypes)[:, 0]  # (M, D)
        distances = (z[:, None] - adapted[None]).square().mean(2)  # (B, M)
        class_loss = nn.functional.cross_entropy(self.linear(torch.exp(-distances)) / 0.1, labels)
        own_loss = prototype_loss(distances, labels, self.prototype_labels)
        return CLASS_LOSS_WEIGHT * class_loss + (1 - CLASS_LOSS_WEIGHT) * own_loss


def training_rows(sizes: Sizes, steps: int, rounds: int) -> list[Row]:
    """Steps a second of `train` on `HeadObjective`, which is all that `fit_head` does after k-means."""
    data = embeddings(sizes)
    published_steps = max(2, steps // 16)
    products = step_products(sizes)
    limits, runs = product_runs(products, {"float32": torch.float32})
    work = {"reference": published_training(data, sizes, published_steps), "ours": training(data, sizes, steps), **limits}
    times = interleaved(work, rounds)
    # Backward asks for two products where forward asks for one.
    limit = runs["float32"].rate(times["limit float32"]) / (3 * total_flop(products))
    return [
        Row(
            group="training",
            what=f"head of {sizes.head.num_prototypes} prototypes, width {sizes.head.embedding_dim}, batch {sizes.batch}",
            unit="steps / s",
            ours=steps / times["ours"],
            reference=published_steps / times["reference"],
            limit=limit,
            more_is_better=True,
        )
    ]


def step_products(sizes: Sizes) -> list[Product]:
    """Of the forward half of a step."""
    prototypes, dim, hidden = sizes.head.num_prototypes, sizes.head.embedding_dim, sizes.head.adaptor_dim
    return [
        Product(prototypes, dim, dim, 2),
        Product(prototypes, dim, hidden),
        Product(prototypes, hidden, dim),
        Product(sizes.batch, dim, prototypes),
        Product(sizes.batch, prototypes, sizes.head.num_classes),
    ]


def embeddings(sizes: Sizes) -> EmbeddedTracks:
    """Random points around a centre a class."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(sizes.count) % sizes.head.num_classes
    centres = torch.randn(sizes.head.num_classes, sizes.head.embedding_dim, generator=generator)
    z = centres[labels] + torch.randn(sizes.count, sizes.head.embedding_dim, generator=generator)
    return EmbeddedTracks(z, torch.arange(sizes.count), labels)


def training(data: EmbeddedTracks, sizes: Sizes, steps: int) -> Callable[[], object]:
    """The library's training of a head, of `steps` steps."""
    objective = HeadObjective(PrototypeHead(sizes.head), data)
    settings = replace(HEAD_SETTINGS, steps=steps, batch_size=sizes.batch)
    return lambda: train(
        objective, lambda context: torch.from_numpy(context.draws.integers(sizes.count, size=sizes.batch)), settings, None
    )


def published_training(data: EmbeddedTracks, sizes: Sizes, steps: int) -> Callable[[], object]:
    """The published code's training, of `steps` steps."""
    published = PublishedHead(PrototypeHead(sizes.head))
    optimizer = torch.optim.Adam(published.parameters(), lr=1e-3, weight_decay=1e-4)
    loader = DataLoader(TensorDataset(data.z, data.labels), sizes.batch, shuffle=True, drop_last=True)
    batches = chain.from_iterable(repeat(loader))

    def work() -> None:
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=steps)
        for z, labels in islice(batches, steps):
            optimizer.zero_grad()
            published.loss(z, labels).backward()
            optimizer.step()
            schedule.step()

    return work


def check_training(sizes: Sizes) -> dict[str, float]:
    """Compare loss and gradients of the library's step with the published code's, without dropout.

    Returns and raises what `check_against_reference` does.
    """
    torch.manual_seed(0)
    head = PrototypeHead(sizes.head).eval()
    published = PublishedHead(head).eval()
    data = embeddings(sizes)
    z, labels = data.z[: sizes.batch], data.labels[: sizes.batch]
    loss, published_loss = head_loss(head, z, labels, CLASS_LOSS_WEIGHT)[0], published.loss(z, labels)
    loss.backward()
    published_loss.backward()
    gradient, published_gradient = head.prototypes.grad, published.prototypes.grad
    assert gradient is not None
    assert published_gradient is not None
    found = {"loss": loss.detach(), "gradient": gradient}
    return compared("training", found, {"loss": published_loss.detach(), "gradient": published_gradient[:, 0]})
