#!/usr/bin/env python
"""Train the demo of the encoder-decoder: numbers in digits to numbers in words. Seeded.

From the repository's root; two minutes of one CPU core:

    .venv/bin/python scripts/train_words.py train   # weights.safetensors
    .venv/bin/python scripts/train_words.py eval    # on numbers that it has never seen
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from deploy.cli.compose import compose
from deploy.export.build_model import build_model
from deploy.models.seq2seq.tokenizer import (
    PAD,
    decode_tokens,
    encode_digits,
    encode_words,
    number_to_words,
)

ROOT = Path(__file__).resolve().parent.parent
WEIGHTS = ROOT / "deploy" / "models" / "seq2seq" / "demo" / "weights.safetensors"
STEPS, BATCH, PEAK = 3000, 64, 2e-3
HELD_OUT = 20  # of so many numbers above 100 one is never trained on


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("train", "eval"))
    parser.add_argument("--steps", type=int, default=STEPS)
    asked = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)  # is faster for so small a model, and sums repeat bit by bit
    if asked.what == "train":
        ship(train(asked.steps))
    evaluate()


def train(steps: int) -> nn.Module:
    """Train from nothing."""
    recipe = compose(["+model=seq2seq", "model.weights=null"]).model
    model = build_model(recipe).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK, steps, pct_start=0.1)
    rng = np.random.default_rng(0)
    for step in range(steps):
        loss = _loss(model.get_submodule("model"), _numbers(rng, BATCH, held_out=False))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 200 == 0:
            print(f"{step:>6} {loss.item():.4f}", flush=True)
    return model.eval()


def ship(model: nn.Module) -> None:
    """Write the package's demo weights."""
    WEIGHTS.parent.mkdir(parents=True, exist_ok=True)
    state = {key: value.clone().contiguous() for key, value in model.state_dict().items()}
    save_file(state, WEIGHTS, {"command": "scripts/train_words.py train"})
    WEIGHTS.chmod(0o644)


def evaluate(count: int = 5000) -> None:
    """Print the share of held-out numbers that are written without a mistake."""
    model = build_model(compose(["+model=seq2seq"]).model)
    numbers = _numbers(np.random.default_rng(1), count, held_out=True)
    ids, mask = (torch.from_numpy(array) for array in encode_digits(numbers))
    written = [decode_tokens(row) for row in model.generate(ids, mask).tolist()]  # type: ignore[operator]
    wrong = [
        (number, text)
        for number, text in zip(numbers, written, strict=True)
        if text != number_to_words(number)
    ]
    print(f"{count - len(wrong)} of {count} held-out numbers are right")
    for number, text in wrong[:5]:
        print(f"  {number}: {text}")


def _numbers(rng: np.random.Generator, count: int, *, held_out: bool) -> list[int]:
    """Numbers of one digit to six, half of them with many zeros; one of twenty is held out."""
    found: list[int] = []
    while len(found) < count:
        digits = rng.integers(0, 10, rng.integers(1, 7))
        digits[1:] *= rng.random(len(digits) - 1) > rng.choice([0, 0.6])
        number = int("".join(map(str, digits)))
        if (number % HELD_OUT == 7 and number > 100) == held_out:
            found.append(number)
    return found


def _loss(model: nn.Module, numbers: list[int]) -> Tensor:
    ids, mask = (torch.from_numpy(array) for array in encode_digits(numbers))
    texts = [torch.tensor([PAD, *encode_words(number)]) for number in numbers]
    text = nn.utils.rnn.pad_sequence(texts, batch_first=True, padding_value=-100)
    given = text[:, :-1].clamp(min=PAD)
    logits = model(input_ids=ids, attention_mask=mask, decoder_input_ids=given).logits
    return nn.functional.cross_entropy(logits.flatten(0, 1), text[:, 1:].flatten())


if __name__ == "__main__":
    main()
