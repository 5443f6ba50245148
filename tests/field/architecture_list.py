"""The architectures of PyTorch, with their inputs and marks on module paths."""

from __future__ import annotations

from collections.abc import Sequence

from tests.field.model_list import FieldModel, Input

_TARGETS = "tests.field.architectures"


def _ids(length: int, smallest: int = 3) -> Input:
    return Input([1, length], "whole_numbers", "int64", (smallest, 99))


def _all(length: int) -> Input:
    return Input([1, length], "constant", "int64", (1, 1), {"value": 1})


def _pixels(size: int) -> Input:
    return Input([1, 3, size, size], "picture", options={"mean": 0.5, "std": 0.25})


def _model(name: str, kind: str, inputs: dict[str, Input], **marks: str) -> FieldModel:
    """A model that is cut at all its marks; a mark is ``name=path`` or ``name=path:input``."""
    places = {mark: place.partition(":") for mark, place in marks.items()}
    written = {
        mark: {"module": path, "at": at or "output"} for mark, (path, _, at) in places.items()
    }
    cuts: Sequence[Sequence[str]] = [
        [mark if place["at"] == "output" else f"{mark}:input"] for mark, place in written.items()
    ]
    return FieldModel(name, kind, f"{_TARGETS}:{name}", inputs, cuts, written)


def _text() -> dict[str, Input]:
    return {"input_ids": _ids(16), "attention_mask": _all(16)}


ARCHITECTURES = (
    _model("bert", "encoder", _text(), middle="encoder.layer.0"),
    _model("bert_eager", "encoder", _text(), middle="encoder.layer.1:input"),
    _model("deberta", "encoder", _text(), middle="encoder.layer.0"),
    _model("gpt2", "decoder", _text(), middle="transformer.h.0"),
    _model("llama", "decoder", _text(), middle="model.layers.0"),
    _model("mamba", "decoder", {"input_ids": _ids(16)}, middle="backbone.layers.0"),
    _model(
        "t5",
        "encoder-decoder",
        {"input_ids": _ids(16), "decoder_input_ids": _ids(8)},
        encoder="encoder",
    ),
    _model(
        "whisper",
        "encoder-decoder",
        {
            "input_features": Input([1, 80, 200], "bins_first"),
            "decoder_input_ids": _ids(8),
        },
        encoder="encoder",
    ),
    _model(
        "clip",
        "two towers",
        {"input_ids": _ids(16), "pixel_values": _pixels(64), "attention_mask": _all(16)},
        seen="vision_model",
    ),
    _model("vit", "classifier", {"pixel_values": _pixels(64)}, middle="vit.layers.0"),
    _model("swin", "classifier", {"pixel_values": _pixels(64)}, middle="encoder.layers.0"),
    _model("detr", "detector", {"pixel_values": _pixels(128)}, encoder="model.encoder"),
    _model("rt_detr", "detector", {"pixel_values": _pixels(128)}, encoder="model.encoder"),
    _model("focus_yolo", "detector", {"images": _pixels(128)}, shallow="down"),
    _model("segformer", "segmenter", {"pixel_values": _pixels(128)}, encoder="segformer"),
    _model("unet", "segmenter", {"image": _pixels(64)}, bottom="bottom"),
    _model(
        "wav2vec2",
        "audio",
        {"input_values": Input([1, 8000], "voice")},
        front="wav2vec2.feature_extractor",
    ),
    _model("gru_speech", "audio", {"mel": Input([1, 80, 100], "bins_first")}, front="conv"),
    _model(
        "streaming_lstm",
        "audio",
        {
            "audio": Input([1, 512], "voice"),
            "h": Input([1, 1, 32], "noise"),
            "c": Input([1, 1, 32], "noise"),
        },
        front="front",
    ),
    _model("separator", "audio", {"audio": Input([1, 4000], "voice")}, coded="encoder"),
)
