"""The masked pre-training of EnCodecMAE (Pepino et al. 2023): hidden frames, predicted codec tokens.

Shapes: B batch, T frames, F codec features, D width, Q codebooks, V tokens in a codebook.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pecmae.autoencoder.encodecmae import EncodecMAE
from pecmae.autoencoder.transformer import Transformer
from pecmae.training.loop import StepContext

SPAN_SECONDS = 0.2  # 15 frames of the published 75 Hz


class MaskedTokenModel(nn.Module):
    """EnCodecMAE while it learns: only visible frames are encoded, a decoder names the codec's tokens of all of them.

    Parameters
    ----------
    encodecmae : EncodecMAE
        The encoder to train.
    num_decoder_layers : int
        Depth of the decoder, which is as wide as the encoder.
    num_codebooks, codebook_size : int
        Q and V of the codec whose tokens are the targets.
    """

    def __init__(
        self, encodecmae: EncodecMAE, *, num_decoder_layers: int = 2, num_codebooks: int = 8, codebook_size: int = 1024
    ) -> None:
        super().__init__()
        dim, encoder = encodecmae.projection.out_features, encodecmae.encoder
        self.encodecmae = encodecmae
        self.decoder_projection = nn.Linear(dim, dim)
        self.decoder = Transformer(dim, encoder.feed_forward_dim, num_decoder_layers, encoder.num_heads)
        self.head = nn.Linear(dim, num_codebooks * codebook_size)
        self.num_codebooks = num_codebooks

    def forward(self, features: Tensor, masked: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """Predict the tokens of every frame from the visible ones.

        Parameters
        ----------
        features : Tensor [shape=(B, T, F)]
            Codec features before quantisation.
        masked : Tensor [shape=(B, T), bool]
            True where the encoder must not see a frame.
        padding_mask : Tensor [shape=(B, T), bool], optional
            True where a frame is padding.

        Returns
        -------
        Tensor [shape=(B, T, Q, V)]
            Token logits.
        """
        tokens = self.encodecmae.project(features)  # (B, T, D)
        hidden = masked if padding_mask is None else masked | padding_mask
        order, absent = _visible_first(hidden)  # (B, Tv) both
        index = order[..., None].expand(-1, -1, tokens.shape[-1])  # (B, Tv, D)
        embeddings = self.encodecmae.encoder(tokens.gather(1, index), absent)  # (B, Tv, D)
        embeddings = self.decoder_projection(embeddings).masked_fill(absent[..., None], 0.0)
        # A hidden frame is a zero vector plus its position: the published model has no mask token.
        placed = torch.zeros_like(tokens, dtype=embeddings.dtype).scatter(1, index, embeddings)  # (B, T, D)
        decoded = self.decoder(placed + self.encodecmae.position(tokens.shape[1]), padding_mask)
        return self.head(decoded).unflatten(-1, (self.num_codebooks, -1))  # (B, T, Q, V)


def masked_token_loss(
    logits: Tensor, tokens: Tensor, masked: Tensor, padding_mask: Tensor | None = None, masked_weight: float = 0.9
) -> Tensor:
    """Cross-entropy of codec tokens, averaged over codebooks; hidden frames weigh `masked_weight`, visible ones the rest.

    Parameters
    ----------
    logits : Tensor [shape=(B, T, Q, V)]
    tokens : Tensor [shape=(B, T, Q), int64]
    masked, padding_mask : Tensor [shape=(B, T), bool]

    Returns
    -------
    Tensor [shape=()]
    """
    loss = F.cross_entropy(logits.movedim(-1, 1), tokens, reduction="none").mean(-1)  # (B, T)
    real = torch.ones_like(masked) if padding_mask is None else ~padding_mask
    hidden, visible = masked & real, ~masked & real
    hidden_loss = (loss * hidden).sum() / hidden.sum().clamp_min(1)
    visible_loss = (loss * visible).sum() / visible.sum().clamp_min(1)
    return masked_weight * hidden_loss + (1 - masked_weight) * visible_loss


def draw_span_mask(
    batch: int, num_frames: int, *, span: int = 15, proportion: float = 0.5, generator: torch.Generator | None = None
) -> Tensor:
    """Hide exactly `proportion` of the frames of every row, in spans of `span` frames that may touch or overlap.

    Returns
    -------
    Tensor [shape=(batch, num_frames), bool]
        True where hidden, on the CPU.
    """
    count, span = round(num_frames * proportion), min(span, num_frames)
    mask = torch.zeros(batch, num_frames, dtype=torch.bool)
    for row in mask:
        while (missing := count - int(row.sum())) > 0:
            start = int(torch.randint(num_frames - span + 1, (), generator=generator))
            # The last span is cut to what is missing, so that every row hides equally many frames.
            free = (~row[start : start + span]).nonzero()[:missing, 0] + start
            row[free] = True
    return mask


def _visible_first(hidden: Tensor) -> tuple[Tensor, Tensor]:
    """Indices of the frames that are not hidden, in order, padded to the longest row; and where that padding is."""
    num_visible = (~hidden).sum(1)  # (B,)
    longest = int(num_visible.max())
    order = hidden.to(torch.uint8).argsort(dim=1, stable=True)[:, :longest]  # (B, Tv)
    absent = torch.arange(longest, device=hidden.device) >= num_visible[:, None]
    return order, absent


class MaskedTokenObjective(nn.Module):
    """EnCodecMAE's pre-training loss.

    Parameters
    ----------
    model : MaskedTokenModel
    frame_rate : float
        Codec frames in a second; spans of frames are hidden for a fixed time.
    """

    def __init__(self, model: MaskedTokenModel, frame_rate: float) -> None:
        super().__init__()
        self.model = model
        self.span = max(1, round(SPAN_SECONDS * frame_rate))

    def forward(self, batch: tuple[Tensor, Tensor, Tensor | None], context: StepContext) -> dict[str, Tensor]:
        """Loss, and accuracy of the first codebook on hidden frames.

        `batch` holds features (B, T, F), tokens (B, T, Q) and padding (B, T) or None.
        """
        features, tokens, padding_mask = batch
        # Drawn on the CPU: the mask's shape decides how many frames are encoded.
        seed = int(torch.randint(2**62, (), generator=context.generator, device=context.device))
        drawn = draw_span_mask(*features.shape[:2], span=self.span, generator=torch.Generator().manual_seed(seed))
        masked = drawn.to(features.device)
        logits = self.model(features, masked, padding_mask)
        with torch.autocast(features.device.type, enabled=False):
            loss = masked_token_loss(logits.float(), tokens, masked, padding_mask)
        scored = masked if padding_mask is None else masked & ~padding_mask
        right = logits[:, :, 0].argmax(-1) == tokens[:, :, 0]
        return {"loss": loss, "accuracy": (right & scored).sum() / scored.sum().clamp_min(1)}
