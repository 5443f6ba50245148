"""An encoder-decoder of transformers, with marks around the encoder and one decoder step."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from backends.contract import MissingLibraryError, install_hint
from deploy.mark import mark, mark_here

try:
    import transformers
    from transformers import DynamicCache, EncoderDecoderCache, GenerationConfig
    from transformers.modeling_outputs import BaseModelOutput
except ImportError as error:
    raise MissingLibraryError(
        f"transformers cannot be imported: {error}", do=install_hint("seq2seq")
    ) from error


if int(transformers.__version__.partition(".")[0]) < 5:
    raise MissingLibraryError(
        "transformers",
        expected="5 or later",
        got=transformers.__version__,
        do=install_hint("seq2seq"),
    )


_MASKED = torch.finfo(torch.float32).min  # added to the attention scores of masked tokens


class Seq2Seq(nn.Module):
    """Greedy decoding with ``generate`` of transformers.

    The key-value cache of each source token, and of each generated token, is one row of ``width``
    numbers: the concatenated keys and values of all layers.

    Args:
        model: such as ``transformers.T5ForConditionalGeneration``.
        max_new_tokens: the largest number of new tokens.

    Attributes:
        width: layers * 2 * heads * head size.

    Raises:
        ValueError: the model is no encoder-decoder of transformers, or a number is out of range.
    """

    def __init__(self, model: nn.Module, max_new_tokens: int) -> None:
        super().__init__()
        if max_new_tokens < 1:
            raise ValueError(f"expected max_new_tokens >= 1, got {max_new_tokens}")
        config = getattr(model, "config", None)
        if not (hasattr(model, "generate") and getattr(config, "is_encoder_decoder", False)):
            raise ValueError(f"expected an encoder-decoder of transformers, got {type(model)}")
        self.model: Any = model.eval()
        self._greedy = GenerationConfig(max_new_tokens=max_new_tokens, do_sample=False, num_beams=1)
        self._layers, self._heads, size = self._sizes()
        self.width = self._layers * 2 * self._heads * size

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        token: Tensor | None = None,
        past: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Generate; with ``token`` and ``past``, also run the decoder step that is exported.

        Args:
            input_ids: (rows, length) int64.
            attention_mask: (rows, length) int64, 0 at padding.
            token: (rows, 1) int64, the last generated token; for the decoder step only.
            past: (1 + steps, rows, width), see ``step``; for the decoder step only.

        Returns:
            ``tokens`` (rows, written) int64; while exporting, ``logits`` and ``fresh`` of the step.

        Raises:
            ValueError: ``past`` has another width.
        """
        if token is not None and past is not None:
            mask = mark_here("mask", (1 - attention_mask[:, None, None].float()) * _MASKED)
            memory = mark_here("memory", self._memory(input_ids, mask))
            logits, fresh = self.step(token, past, memory, mask)
            if torch.compiler.is_exporting():
                return {"logits": logits, "fresh": fresh}
        return {"tokens": self.generate(input_ids, attention_mask)}

    def generate(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The tokens (rows, written) int64 that transformers generates, the start token first."""
        tokens: Tensor = self.model.generate(
            input_ids, attention_mask=attention_mask, generation_config=self._greedy
        )
        return tokens

    @mark("step", outputs=["logits", "fresh"])
    def step(
        self, token: Tensor, past: Tensor, memory: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """One step of the decoder.

        Args:
            token: (rows, 1) int64.
            past: (1 + steps, rows, width), the cache of the tokens before it. The first row is
                ignored; it exists since few engines accept an empty tensor.
            memory: (rows, length, width), the cache of the source tokens.
            mask: (rows, 1, 1, length), added to the attention scores of the source tokens.

        Returns:
            The next token's logits (rows, vocabulary), and the row (1, rows, width) to append to
            ``past``.

        Raises:
            ValueError: ``past`` has another width.
        """
        if past.shape[2] != self.width:
            raise ValueError(f"past: expected a width of {self.width}, got {past.shape[2]}")
        pairs = zip(
            self._split_layers(past[1:].transpose(0, 1)), self._split_layers(memory), strict=True
        )
        cache = EncoderDecoderCache([target + source for target, source in pairs])
        # only the size of the encoder states is read: their keys and values are in the cache
        states = memory.new_zeros(*memory.shape[:2], self.model.config.hidden_size)
        logits = self._decode(token, states, mask, cache)
        return logits[:, -1], _join_layers(cache.self_attention_cache)[:, -1:].transpose(0, 1)

    def _memory(self, input_ids: Tensor, mask: Tensor) -> Tensor:
        """The cross-attention cache of the source: (rows, length, width)."""
        states = self.model.get_encoder()(input_ids=input_ids, attention_mask=mask)[0]
        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        self._decode(torch.zeros_like(input_ids[:, :1]), states, mask, cache)  # fills the cache
        return _join_layers(cache.cross_attention_cache)

    def _decode(self, token: Tensor, states: Tensor, mask: Tensor, cache: object) -> Tensor:
        """The logits (rows, 1, vocabulary) after a token (rows, 1); updates the cache."""
        parameters = inspect.signature(self.model.forward).parameters
        logits: Tensor = self.model(
            decoder_input_ids=token,
            encoder_outputs=BaseModelOutput(last_hidden_state=states),
            attention_mask=mask,
            use_cache=True,
            **{"cache" if "cache" in parameters else "past_key_values": cache},
        ).logits
        return logits

    def _sizes(self) -> tuple[int, int, int]:
        """Number of layers, number of heads and head size of the decoder's cache."""
        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        states = torch.zeros(1, 1, self.model.config.hidden_size)
        with torch.no_grad():
            self._decode(
                torch.zeros(1, 1, dtype=torch.int64), states, torch.zeros(1, 1, 1, 1), cache
            )
        _, heads, _, size = cache.cross_attention_cache.layers[0].keys.shape
        return len(cache.cross_attention_cache.layers), heads, size

    def _split_layers(self, rows: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Rows (rows, length, width) to the key and value (rows, heads, length, size) per layer."""
        tensors = [
            chunk.unflatten(2, (self._heads, -1)).transpose(1, 2)  # type: ignore[no-untyped-call]
            for chunk in rows.chunk(self._layers * 2, 2)
        ]
        return list(zip(tensors[::2], tensors[1::2], strict=True))


def _join_layers(cache: Any) -> Tensor:
    """The keys and values of a cache as (rows, length, width)."""
    tensors = [tensor for layer in cache.layers for tensor in (layer.keys, layer.values)]
    return torch.cat([tensor.transpose(1, 2).flatten(2) for tensor in tensors], 2)
