"""Pre-train an EnCodecMAE: predict the codec's tokens of hidden frames from the visible ones.

    python examples/pretrain_encodecmae.py --data DIR --codec OUT1/codec --output OUT2 [--preset mini]

DIR is the folder of audio that the codec was trained on, or another; its labels are not used. OUT2/encodecmae is the result.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from transformers import EncodecModel

from pecmae.collection_checks import add_data_arguments, collection_from_arguments
from pecmae.data import WaveformStore
from pecmae.encodecmae import EncodecMAE, MaskedTokenModel
from pecmae.feature_cache import SegmentFeatures, padding_mask, segment_features, weights_key
from pecmae.objectives import MaskedTokenObjective
from pecmae.runs import write_json
from pecmae.training import StepContext, TrainingSettings, add_training_arguments, evaluate, train, training_settings
from pecmae.weights import save_weights

PRESETS = {
    "toy": (
        {"dim": 16, "feed_forward_dim": 32, "num_layers": 1, "num_heads": 2},
        TrainingSettings(steps=4, batch_size=2, learning_rate=1e-3, betas=(0.9, 0.95), weight_decay=0.05),
    ),
    "mini": (
        {"dim": 192, "feed_forward_dim": 768, "num_layers": 5, "num_heads": 3},
        TrainingSettings(
            steps=4000, batch_size=24, learning_rate=1e-3, warmup_steps=100, final_fraction=0.02, betas=(0.9, 0.95),
            weight_decay=0.05, max_grad_norm=1.0, mixed_precision="bf16", checkpoint_every=100,
        ),
    ),
    "base": (
        {"dim": 768, "feed_forward_dim": 4096, "num_layers": 10, "num_heads": 12},
        TrainingSettings(
            steps=500_000, batch_size=128, learning_rate=1e-4, betas=(0.9, 0.95), weight_decay=0.05, schedule="constant",
            mixed_precision="bf16", checkpoint_every=5000,
        ),
    ),
}  # fmt: skip


def batches(segments: SegmentFeatures, tokens: np.ndarray, batch_size: int) -> Callable[[StepContext], tuple[Any, ...]]:
    """A function from the context of a step to its segments."""

    def make_batch(context: StepContext) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        rows = np.sort(context.draws.integers(len(segments), size=batch_size)[context.rows])
        features = torch.from_numpy(segments.features[rows].astype(np.float32))
        padding = padding_mask(torch.from_numpy(segments.lengths[rows]), features.shape[1], context.device)
        return features.to(context.device), torch.from_numpy(tokens[rows].astype(np.int64)).to(context.device), padding

    return make_batch


def main(argv: list[str] | None = None) -> None:
    """Cache features and tokens, train, measure, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_arguments(parser, checks=False)
    parser.add_argument("--codec", required=True, help="folder of the codec, as train_codec.py writes it")
    parser.add_argument("--cache", help="where decoded audio and features are kept (default: OUTPUT/cache)")
    parser.add_argument("--segment-seconds", type=float, default=4.0, help="length of a segment (default: 4)")
    parser.add_argument("--stride-seconds", type=float, default=3.0, help="distance of two segments (default: 3)")
    add_training_arguments(parser, presets=PRESETS)
    args = parser.parse_args(argv)
    sizes, defaults = PRESETS[args.preset]
    settings, output = training_settings(args, defaults), Path(args.output)
    cache = Path(args.cache or output / "cache")

    accelerator = Accelerator(mixed_precision=settings.mixed_precision)
    codec = EncodecModel.from_pretrained(args.codec).to(accelerator.device)
    files = collection_from_arguments(args).splits
    data = {}
    with accelerator.main_process_first():
        for split in ("train", "validation"):
            store = WaveformStore(files.get(split) or files["train"], cache, codec.config.sampling_rate, progress=True)
            lengths = {"segment_seconds": args.segment_seconds, "stride_seconds": args.stride_seconds}
            segments = segment_features(codec, store, cache, **lengths, progress=True)
            data[split] = batches(segments, segments.tokens(codec), settings.batch_size), segments.key

    torch.manual_seed(settings.seed)
    encodecmae = EncodecMAE(feature_dim=codec.config.hidden_size, **sizes)
    books = {"num_codebooks": codec.config.num_quantizers, "codebook_size": codec.config.codebook_size}
    frame_rate = codec.config.sampling_rate / codec.config.hop_length
    objective = MaskedTokenObjective(MaskedTokenModel(encodecmae, num_decoder_layers=2, **books), frame_rate)
    description = {"stage": "encodecmae", "preset": args.preset, "data": data["train"][1], "sizes": sizes}
    result = train(
        objective, data["train"][0], settings, output, description=description, stop_after=args.stop_after, progress=True,
        accelerator=accelerator,
    )  # fmt: skip
    if not accelerator.is_main_process:
        return
    report = {"step": result.step, **evaluate(objective, data["validation"][0], settings, 8, accelerator)}
    folder = output / "encodecmae"
    folder.mkdir(exist_ok=True)
    digest = save_weights(encodecmae, folder / "model.safetensors")
    config = {"format_version": 1, "feature_dim": codec.config.hidden_size, **sizes, "codec": weights_key(codec)}
    write_json(folder / "config.json", {**config, "sha256": {"model.safetensors": digest}})
    write_json(folder / "report.json", report)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
