"""A model as an ONNX graph, for programs without torch: from segments of sound to z, similarities and logits."""

import copy
import json
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pecmae.core.files import atomic_write, user_path
from pecmae.errors import ConfigError
from pecmae.model import PECMAE

GRAPH, FACTS = "model.onnx", "model.json"
INPUTS, OUTPUTS = ("wav", "num_samples"), ("z", "similarities", "logits")
FORMAT_VERSION = 1
_LARGEST_BATCH = 65_536


class _Answers(nn.Module):
    """From segments to everything that is answered of them."""

    def __init__(self, model: PECMAE) -> None:
        super().__init__()
        self.autoencoder, self.head = model.autoencoder, model.head

    def forward(self, wav: Tensor, num_samples: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """z (B, D), similarities (B, M) and logits (B, C) of segments (B, N) of which `num_samples` (B,) are real."""
        features = self.autoencoder.extract_features(wav, num_samples)  # (B, T, F)
        padding = self.autoencoder.frame_padding_mask(num_samples, features.shape[1])  # (B, T)
        z = self.autoencoder.summarize(self.autoencoder.encode_frames(features, padding), padding)
        similarities = self.head.similarities(z)
        return z, similarities, self.head.linear(similarities)


def export_onnx(model: PECMAE, output: str | os.PathLike[str]) -> Path:
    """Write a model as `model.onnx`, with what a program needs to use it in `model.json` beside it.

    The graph takes `wav` [shape=(B, N), float32], segments of N samples at the model's rate, zero-padded at the end, and
    `num_samples` [shape=(B,), int64], how many of them are real; it gives `z` [shape=(B, D)], `similarities` [shape=(B, M)] and
    `logits` [shape=(B, C)] of each segment, within 1e-4 of the model's own. B is free. What is done before (mixing, resampling,
    removing offsets) and after (the weighted mean over segments, scores) is said in the JSON.

    Parameters
    ----------
    model : PECMAE
        In float32.
    output : path
        Folder; made. A graph that is there is replaced.

    Returns
    -------
    Path
        Of the graph.

    Raises
    ------
    ConfigError
        The model is not in float32, or the extra `onnx` is not installed.
    """
    if model.autoencoder.dtype != torch.float32 or model.head.prototypes.dtype != torch.float32:
        raise ConfigError("a model is exported in float32; load it with dtype='float32'.")
    if missing := [name for name in ("onnx", "onnxscript") if find_spec(name) is None]:
        raise ConfigError(f"exporting needs {missing[0]}; install it with pip install 'pecmae[onnx]'.")
    answers = copy.deepcopy(_Answers(model)).to("cpu").eval()
    module: Any
    for module in answers.modules():
        if getattr(module, "inplace", False):
            module.inplace = False  # what changes a view in place becomes a scatter of single elements, ten times slower
    samples = model.autoencoder.config.segment_samples
    example = torch.zeros(2, samples), torch.tensor([samples, samples // 2])
    batch = torch.export.Dim("batch", min=1, max=_LARGEST_BATCH)
    with torch.no_grad(), _quiet_exporter():
        program = torch.onnx.export(
            answers,
            example,
            dynamo=True,
            input_names=INPUTS,
            output_names=OUTPUTS,
            dynamic_shapes=({0: batch}, {0: batch}),
            verbose=False,
        )
    assert program is not None
    folder = user_path(output)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(folder / GRAPH) as temporary:
        program.save(temporary)
    with atomic_write(folder / FACTS) as temporary:
        temporary.write_text(json.dumps(onnx_facts(model), indent=2) + "\n", encoding="utf-8")
    return folder / GRAPH


def onnx_facts(model: PECMAE) -> dict[str, Any]:
    """What stands beside the graph: plain values for JSON."""
    config, head = model.autoencoder.config, model.head.config
    softmax = head.classification_loss == "cross_entropy"
    scores = {"function": "softmax", "temperature": head.temperature} if softmax else {"function": "sigmoid"}
    return {
        "format_version": FORMAT_VERSION,
        "model_type": "pecmae",
        "labels": list(model.labels),
        "prototypes": [model.labels[label] for label in model.head.prototype_labels.tolist()],
        "sampling_rate": config.sampling_rate,
        "segment_seconds": config.segment_seconds,
        "segment_samples": config.segment_samples,
        "shortest_segment": config.hop_length,
        "inputs": {"wav": ["batch", config.segment_samples], "num_samples": ["batch"]},
        "outputs": {
            "z": ["batch", head.embedding_dim],
            "similarities": ["batch", head.num_prototypes],
            "logits": ["batch", head.num_classes],
        },
        "kernel": {"scale": head.kernel_scale, "distance": head.distance_reduction},
        "scores": {"of": "the mean of the logits of a track's segments, by their weights", **scores},
        "preparation": asdict(model.preparation),
    }


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Keep back what the exporter tells of packages that are not needed, and of its own internals."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
