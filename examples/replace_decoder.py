"""Put a refined codec decoder into a model or an autoencoder that is there already.

    python examples/train_codec.py --data DIR --refine CODEC --output refined [--widen]
    python examples/replace_decoder.py --model MODEL --codec refined/codec --output OUT [--dtype float16]

CODEC is the codec that MODEL's autoencoder was built on. What MODEL answers stays the same; what it generates sounds as the new
decoder makes it. A model is saved with its autoencoder inside.
"""

import argparse
from pathlib import Path

from pecmae import PECMAE, Autoencoder
from pecmae.autoencoder.model import MODEL_TYPE as AUTOENCODER
from pecmae.core.configs import FORMAT_VERSION, read_json_config
from pecmae.training.codec_decoder import replace_decoder
from pecmae.training.codec_widening import Codec


def main(argv: list[str] | None = None) -> None:
    """Load both, replace, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="directory of a model or an autoencoder")
    parser.add_argument("--codec", required=True, help="folder of the refined codec, as train_codec.py writes it")
    parser.add_argument("--dtype", choices=["float32", "float16"], help="stored precision (default: float32)")
    parser.add_argument("--output", required=True, help="directory to write")
    args = parser.parse_args(argv)
    codec = Codec.from_pretrained(args.codec).eval()
    stored = read_json_config(Path(args.model) / "config.json", format_version=FORMAT_VERSION)
    kind = Autoencoder if stored.get("model_type") == AUTOENCODER else PECMAE
    model = kind.from_pretrained(args.model, device="cpu", dtype="float32")
    replace_decoder(model if isinstance(model, Autoencoder) else model.autoencoder, codec)
    if isinstance(model, PECMAE):
        model.autoencoder_reference = None
    model.save_pretrained(args.output, dtype=args.dtype)


if __name__ == "__main__":
    main()
