"""A network for text: embedding, convolution, LSTM."""

from __future__ import annotations

from torch import Tensor, nn

from ._sizes import whole
from .lstm import LSTM


class CNNLSTM(nn.Module):
    """Words to vectors, one convolution of five words with pooling of four, an LSTM: ``[n, words] → [n, classes]``.

    x holds the numbers of words, integers below ``vocabulary``. The network of the IMDB experiments: with ``width=70``
    2,638,966 weights (Wenzel et al. 2020, 100 words), with 128, the default, 2,700,098 (Izmailov, Vikram, Hoffman & Wilson
    2021). Wenzel et al. also drop words' vectors in training.
    """

    def __init__(
        self, classes: int = 2, vocabulary: int = 20_000, width: int = 128, embedding: int = 128, channels: int = 64
    ) -> None:
        super().__init__()
        sizes = {"classes": classes, "vocabulary": vocabulary, "width": width, "embedding": embedding, "channels": channels}
        classes, vocabulary, width, embedding, channels = (whole("CNNLSTM", n, v) for n, v in sizes.items())
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.conv = nn.Conv1d(embedding, channels, 5)
        self.lstm = LSTM(channels, classes, width)

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != 2 or x.shape[1] < 8 or x.is_floating_point():
            raise ValueError(
                f"CNNLSTM expects [rows, words] of integers with at least 8 words, got {tuple(x.shape)} of {x.dtype}"
            )
        seen = self.conv(self.embedding(x).movedim(2, 1)).relu()
        out: Tensor = self.lstm(nn.functional.max_pool1d(seen, 4).movedim(1, 2))
        return out
