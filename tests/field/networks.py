"""Networks in plain PyTorch, as people write them: no mark, no change for an export."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


def _conv(inputs: int, outputs: int, size: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.SiLU(),
    )


class Focus(nn.Module):
    """Every second pixel of both axes as channels."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = _conv(4 * inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Half the height and width."""
        corners = (x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2])
        return self.conv(torch.cat(corners, 1))


class PyramidPooling(nn.Module):
    """Pooling of three sizes beside the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = _conv(4 * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """The same height and width."""
        return self.conv(
            torch.cat([x, *(functional.max_pool2d(x, k, 1, k // 2) for k in (5, 9, 13))], 1)
        )


class FocusYolo(nn.Module):
    """A detector in the manner of YOLOv5: a focus layer, two scales, boxes decoded in the graph."""

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        self.values = 5 + classes
        self.focus, self.down = Focus(3, 16), _conv(16, 32, 3, 2)
        self.deep = nn.Sequential(_conv(32, 64, 3, 2), PyramidPooling(64))
        self.lateral = _conv(64, 32, 1)
        self.small = nn.Conv2d(64, 3 * self.values, 1)
        self.large = nn.Conv2d(64, 3 * self.values, 1)
        self.register_buffer("anchors", torch.rand(2, 3, 2) * 40 + 10)

    def forward(self, images: Tensor) -> Tensor:
        """Boxes, objectness and class scores of every anchor."""
        shallow = self.down(self.focus(images))
        deep = self.deep(shallow)
        up = functional.interpolate(self.lateral(deep), scale_factor=2.0, mode="nearest")
        maps = self.large(torch.cat([shallow, up], 1)), self.small(deep)
        return torch.cat([self._decode(x, n) for n, x in enumerate(maps)], 1)

    def _decode(self, x: Tensor, scale: int) -> Tensor:
        batch, _, height, width = x.shape
        x = x.view(batch, 3, self.values, height, width).permute(0, 1, 3, 4, 2).sigmoid()
        rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        grid = torch.stack([columns, rows], -1).to(x.dtype)
        centre = (x[..., :2] * 2 - 0.5 + grid) * (4 << scale)
        size = (x[..., 2:4] * 2) ** 2 * self.anchors[scale][:, None, None]
        return torch.cat([centre, size, x[..., 4:]], -1).flatten(1, 3)


class UNet(nn.Module):
    """A segmenter: skip connections, transposed convolutions, group normalisation."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.first, self.second, self.bottom = (
            self._block(3, 16), self._block(16, 32), self._block(32, 64)
        )  # fmt: skip
        self.up_second = nn.ConvTranspose2d(64, 32, 2, 2)
        self.up_first = nn.ConvTranspose2d(32, 16, 2, 2)
        self.join_second, self.join_first = self._block(64, 32), self._block(32, 16)
        self.head = nn.Conv2d(16, classes, 1)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Probabilities and the class of each pixel."""
        first = self.first(image)
        second = self.second(functional.max_pool2d(first, 2))
        bottom = self.bottom(functional.max_pool2d(second, 2))
        second = self.join_second(torch.cat([self.up_second(bottom), second], 1))
        first = self.join_first(torch.cat([self.up_first(second), first], 1))
        probabilities = self.head(first).softmax(1)
        return {"probabilities": probabilities, "labels": probabilities.argmax(1)}

    @staticmethod
    def _block(inputs: int, outputs: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, padding=1), nn.GroupNorm(4, outputs), nn.GELU()
        )


class GruSpeech(nn.Module):
    """A recogniser of speech: convolutions over a spectrum, a bidirectional GRU, CTC scores."""

    def __init__(self, bins: int = 80, letters: int = 29) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv1d(bins, 64, 5, 2, 2), nn.ReLU(), nn.Conv1d(64, 64, 5, 1, 2), nn.ReLU()
        )
        self.gru = nn.GRU(64, 48, num_layers=2, batch_first=True, bidirectional=True)
        self.norm, self.head = nn.LayerNorm(96), nn.Linear(96, letters)

    def forward(self, mel: Tensor) -> Tensor:
        """Log probabilities of letters, frame by frame."""
        hidden, _ = self.gru(self.conv(mel).transpose(1, 2))
        return self.head(self.norm(hidden)).log_softmax(-1)


class StreamingLstm(nn.Module):
    """A voice detector with its state as input and output."""

    def __init__(self) -> None:
        super().__init__()
        self.front = nn.Conv1d(1, 32, 64, 32)
        self.lstm, self.head = nn.LSTM(32, 32, batch_first=True), nn.Linear(32, 1)

    def forward(self, audio: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """The probability of speech, and the state."""
        frames = self.front(audio[:, None]).relu().transpose(1, 2)
        hidden, state = self.lstm(frames, (h, c))
        return self.head(hidden[:, -1]).sigmoid(), state


class Separator(nn.Module):
    """A separator of sources in the manner of Conv-TasNet: dilated convolutions, masks."""

    def __init__(self, sources: int = 2) -> None:
        super().__init__()
        self.sources = sources
        self.encoder = nn.Conv1d(1, 64, 16, 8, bias=False)
        self.blocks = nn.ModuleList(self._block(2**n) for n in range(4))
        self.masks = nn.Conv1d(64, 64 * sources, 1)
        self.decoder = nn.ConvTranspose1d(64, 1, 16, 8, bias=False)

    def forward(self, audio: Tensor) -> Tensor:
        """A signal for each source."""
        latent = self.encoder(audio[:, None])
        hidden = latent
        for block in self.blocks:
            hidden = hidden + block(hidden)
        masks = self.masks(hidden).sigmoid().unflatten(1, (self.sources, 64))
        parts = (masks * latent[:, None]).flatten(0, 1)
        return self.decoder(parts).view(audio.shape[0], self.sources, -1)

    @staticmethod
    def _block(dilation: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv1d(64, 96, 1), nn.PReLU(), nn.GroupNorm(1, 96),
            nn.Conv1d(96, 96, 3, padding=dilation, dilation=dilation, groups=96),
            nn.PReLU(), nn.GroupNorm(1, 96), nn.Conv1d(96, 64, 1),
        )  # fmt: skip
