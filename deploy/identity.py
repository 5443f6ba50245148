"""What a ``torch.nn.Module`` is, so that an equal one is known by it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

_OF_EVERY_MODULE = frozenset(vars(nn.Module()))


def model_identity(model: nn.Module) -> str:
    """The SHA-256 of a model's structure, of its settings and of all its tensors.

    Code is not in it. A setting counts by its ``repr``, if that is the same in another process.
    """
    digest = hashlib.sha256(repr(model).encode())
    for name, module in model.named_modules():
        for key, value in _tensors(module):
            digest.update(f"\n{name}.{key} ".encode() + _bytes(value))
        for key, text in _settings(module):
            digest.update(f"\n{name}.{key} {text}".encode())
    return digest.hexdigest()


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters(recurse=False)
    yield from module.named_buffers(recurse=False)
    yield from ((key, value) for key, value in vars(module).items() if isinstance(value, Tensor))


def _settings(module: nn.Module) -> Iterator[tuple[str, str]]:
    for key, value in vars(module).items():
        if key not in _OF_EVERY_MODULE and not isinstance(value, Tensor | nn.Module):
            text = repr(sorted(map(repr, value)) if isinstance(value, set | frozenset) else value)
            if " at 0x" not in text:  # an address, another one each time
                yield key, f"{type(value).__qualname__} {text}"


def _bytes(tensor: Tensor) -> bytes:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    kind = f"{tensor.dtype}{list(tensor.shape)} ".encode()
    return kind + hashlib.sha256(flat.view(torch.uint8).numpy().data).digest()
