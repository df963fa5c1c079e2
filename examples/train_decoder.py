"""Give a model or an autoencoder a new codec decoder that ends in an inverse Fourier transform, and train it.

    python examples/train_decoder.py --model MODEL --data DIR --output A
    python examples/train_decoder.py --model MODEL --data DIR --start-from A --critic --output B

The first command learns from random weights, for a spectral loss; the second goes on against a critic that hears mel bands and
phases. Features, z and answers stay the model's. OUTPUT/model is the model with the new decoder and everything else inside.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator

from arguments import add_data_arguments, add_training_arguments, collection_from_arguments, training_settings
from endings import ending_in_words
from pecmae import PECMAE
from pecmae.autoencoder.codec_istft import ISTFTDecoder
from pecmae.core.files import write_json
from pecmae.core.weights import weights_key
from pecmae.data.waveforms import WaveformStore
from pecmae.evaluation.sounds import check_codec
from pecmae.training.codec_decoder import DecoderObjective, ReconstructionObjective
from pecmae.training.critic import listening_critic
from pecmae.training.loop import StepContext, train
from pecmae.training.runs import start_from
from pecmae.training.settings import TrainingSettings

SEGMENT_SECONDS = 1.0
# Sizes of the decoder, settings from random weights, and settings against the critic.
PRESETS = {
    "toy": (
        {"istft_dim": 12, "istft_num_layers": 2},
        TrainingSettings(steps=4, batch_size=2, learning_rate=1e-3, betas=(0.8, 0.99), ema_decay=0.9),
        TrainingSettings(steps=4, batch_size=2, learning_rate=2e-4, betas=(0.8, 0.99), ema_decay=0.9),
    ),
    "mini": (
        {"istft_dim": 384, "istft_num_layers": 8},
        TrainingSettings(
            steps=1500, batch_size=8, learning_rate=1e-3, warmup_steps=50, final_fraction=0.2, betas=(0.8, 0.99),
            max_grad_norm=1.0, ema_decay=0.99, mixed_precision="bf16", checkpoint_every=100,
        ),
        TrainingSettings(
            steps=5000, batch_size=8, learning_rate=3e-4, warmup_steps=50, final_fraction=0.05, betas=(0.8, 0.99),
            ema_decay=0.998, mixed_precision="bf16", checkpoint_every=100,
        ),
    ),
}  # fmt: skip


def main(argv: list[str] | None = None) -> None:
    """Build, train, measure, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_arguments(parser, checks=False)
    parser.add_argument("--model", help="directory of a model (default: the embedded one)")
    parser.add_argument("--cache", help="where decoded audio is kept (default: OUTPUT/cache)")
    parser.add_argument("--critic", action="store_true", help="train against a critic, too")
    parser.add_argument("--start-from", metavar="RUN", help="begin with the decoder of this run, the OUTPUT of an earlier one")
    parser.add_argument("--dtype", choices=["float32", "float16"], help="stored precision of the result (default: float32)")
    add_training_arguments(parser, presets=PRESETS)
    args = parser.parse_args(argv)
    with ending_in_words(args.output):
        run(args)


def run(args: argparse.Namespace) -> None:
    """Train, measure, save."""
    sizes, from_random, against_critic = PRESETS[args.preset]
    settings, output = training_settings(args, against_critic if args.critic else from_random), Path(args.output)

    files = collection_from_arguments(args).splits
    accelerator = Accelerator(mixed_precision=settings.mixed_precision)
    model = PECMAE.from_pretrained(args.model, device="cpu", dtype="float32")
    autoencoder = model.autoencoder
    torch.manual_seed(settings.seed)
    autoencoder.config = replace(autoencoder.config, codec_decoder="istft", **sizes)
    autoencoder.codec_decoder = ISTFTDecoder(autoencoder.config)
    rate = autoencoder.sampling_rate
    with accelerator.main_process_first():
        store = WaveformStore(files["train"], args.cache or output / "cache", rate, progress=True)
    length = round(SEGMENT_SECONDS * rate)

    def make_batch(context: StepContext) -> torch.Tensor:
        crops = store.random_crops(context.draws, settings.batch_size, length, context.rows)
        gain = 10 ** context.draws.uniform(-0.5, 0.15, settings.batch_size)[context.rows, None]  # -10 to +3 dB
        return torch.from_numpy((crops * gain).astype(np.float32)).to(context.device)

    parts = (autoencoder.codec_encoder, autoencoder.codec_decoder, rate)
    objective = (
        DecoderObjective(*parts, listening_critic(rate), dynamics_weight=0) if args.critic else ReconstructionObjective(*parts)
    )
    description = {"stage": "istft decoder", "preset": args.preset, "data": store.key, "sizes": sizes, "critic": args.critic}
    description["encoder"] = weights_key(autoencoder.codec_encoder)
    if args.start_from:
        description |= start_from(ReconstructionObjective(*parts), Path(args.start_from))  # a critic begins anew
    result = train(
        objective, make_batch, settings, output, description=description, stop_after=args.stop_after, progress=True,
        accelerator=accelerator,
    )  # fmt: skip
    if not accelerator.is_main_process:
        return
    held_out = WaveformStore(files.get("validation") or files["train"], args.cache or output / "cache", rate)
    segments = [
        torch.from_numpy(held_out.crop(item, 0, autoencoder.config.segment_samples)) for item in range(min(64, len(held_out)))
    ]
    report = {"step": result.step, "hours": store.seconds / 3600, **check_codec(autoencoder.cpu().eval(), segments)}
    model.autoencoder_reference = None
    model.save_pretrained(output / "model", dtype=args.dtype)
    write_json(output / "report.json", report)
    print(report)


if __name__ == "__main__":
    main()
