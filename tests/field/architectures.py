"""Architectures of PyTorch with seeded random weights: targets of ``model.target``."""

from __future__ import annotations

import torch
import transformers
from torch import nn

from tests.field import networks

_SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
_SMALL_ENCODER = {**_SMALL, "intermediate_size": 64}


def _built(make: type[nn.Module], *arguments: object) -> nn.Module:
    torch.manual_seed(0)
    model = make(*arguments).eval()
    _spread_statistics(model)
    return model


def _spread_statistics(model: nn.Module) -> None:
    """Statistics of normalisations as training leaves them: neither 0 nor 1."""
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)


def bert() -> nn.Module:
    """An encoder of text."""
    return _built(transformers.BertModel, transformers.BertConfig(vocab_size=100, **_SMALL_ENCODER))


def bert_eager() -> nn.Module:
    """The same with attention of plain operators."""
    config = transformers.BertConfig(vocab_size=100, attn_implementation="eager", **_SMALL_ENCODER)
    return _built(transformers.BertModel, config)


def deberta() -> nn.Module:
    """An encoder with relative positions in its attention."""
    config = transformers.DebertaV2Config(
        vocab_size=100, relative_attention=True, pos_att_type=["p2c", "c2p"],
        position_buckets=16, max_relative_positions=32, **_SMALL_ENCODER,
    )  # fmt: skip
    return _built(transformers.DebertaV2Model, config)


def gpt2() -> nn.Module:
    """A decoder of text, without its cache."""
    config = transformers.GPT2Config(
        vocab_size=100, n_positions=64, n_embd=32, n_layer=2, n_head=4, use_cache=False
    )
    return _built(transformers.GPT2LMHeadModel, config)


def llama() -> nn.Module:
    """A decoder with rotary positions and grouped queries."""
    config = transformers.LlamaConfig(
        vocab_size=100, num_key_value_heads=2, max_position_embeddings=64, use_cache=False,
        **_SMALL_ENCODER,
    )  # fmt: skip
    return _built(transformers.LlamaForCausalLM, config)


def t5() -> nn.Module:
    """An encoder-decoder with relative positions."""
    config = transformers.T5Config(
        vocab_size=100, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, use_cache=False
    )
    return _built(transformers.T5Model, config)


def whisper() -> nn.Module:
    """An encoder-decoder of speech."""
    config = transformers.WhisperConfig(
        vocab_size=100, num_mel_bins=80, d_model=32, encoder_layers=2, decoder_layers=2,
        encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=64,
        decoder_ffn_dim=64, max_source_positions=100, max_target_positions=32, use_cache=False,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
    )  # fmt: skip
    return _built(transformers.WhisperModel, config)


def clip() -> nn.Module:
    """Two towers: text and picture."""
    config = transformers.CLIPConfig(
        text_config={
            **_SMALL_ENCODER, "vocab_size": 100, "max_position_embeddings": 32,
            "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "projection_dim": 24,
        },
        vision_config={**_SMALL_ENCODER, "image_size": 64, "patch_size": 16, "projection_dim": 24},
        projection_dim=24,
    )  # fmt: skip
    return _built(transformers.CLIPModel, config)


def vit() -> nn.Module:
    """A classifier of pictures by patches."""
    config = transformers.ViTConfig(image_size=64, patch_size=16, num_labels=5, **_SMALL_ENCODER)
    return _built(transformers.ViTForImageClassification, config)


def swin() -> nn.Module:
    """A hierarchical transformer with shifted windows."""
    config = transformers.SwinConfig(
        image_size=64, patch_size=4, embed_dim=16, depths=[2, 2], num_heads=[2, 4], window_size=4
    )
    return _built(transformers.SwinModel, config)


def _resnet() -> transformers.ResNetConfig:
    return transformers.ResNetConfig(
        embedding_size=16, hidden_sizes=[16, 24, 32, 48], depths=[1, 1, 1, 1],
        layer_type="basic", out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip


def detr() -> nn.Module:
    """A detector whose queries attend to a convolutional backbone."""
    backbone = _resnet()
    backbone.out_features = ["stage4"]
    config = transformers.DetrConfig(
        use_timm_backbone=False, use_pretrained_backbone=False, backbone=None,
        backbone_config=backbone, d_model=32, encoder_layers=2, decoder_layers=2,
        encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=64,
        decoder_ffn_dim=64, num_queries=10, num_labels=5,
    )  # fmt: skip
    return _built(transformers.DetrForObjectDetection, config)


def rt_detr() -> nn.Module:
    """A detector with deformable attention, and queries chosen by their scores."""
    config = transformers.RTDetrConfig(
        backbone_config=transformers.RTDetrResNetConfig(
            embedding_size=16, hidden_sizes=[16, 24, 32, 48], depths=[1, 1, 1, 1],
            layer_type="basic", out_features=["stage2", "stage3", "stage4"],
        ),
        encoder_in_channels=[24, 32, 48], encoder_hidden_dim=32, d_model=32,
        decoder_in_channels=[32, 32, 32], encoder_ffn_dim=64, decoder_ffn_dim=64,
        encoder_attention_heads=4, decoder_attention_heads=4, decoder_layers=2, num_queries=20,
        num_labels=5, num_denoising=0, anchor_image_size=None,
    )  # fmt: skip
    return _built(transformers.RTDetrForObjectDetection, config)


def segformer() -> nn.Module:
    """A segmenter of pictures."""
    config = transformers.SegformerConfig(
        depths=[1, 1, 1, 1], hidden_sizes=[16, 24, 32, 48], num_attention_heads=[1, 2, 2, 4],
        decoder_hidden_size=32, num_labels=5,
    )  # fmt: skip
    return _built(transformers.SegformerForSemanticSegmentation, config)


def wav2vec2() -> nn.Module:
    """A recogniser of speech that reads the signal itself."""
    config = transformers.Wav2Vec2Config(
        vocab_size=32, conv_dim=(32, 32, 32), conv_stride=(5, 4, 4), conv_kernel=(10, 8, 4),
        num_feat_extract_layers=3, num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4,
        **_SMALL_ENCODER,
    )  # fmt: skip
    return _built(transformers.Wav2Vec2ForCTC, config)


def mamba() -> nn.Module:
    """A state-space model of text."""
    config = transformers.MambaConfig(
        vocab_size=100, hidden_size=32, state_size=8, num_hidden_layers=2, use_cache=False
    )
    return _built(transformers.MambaForCausalLM, config)


def focus_yolo() -> nn.Module:
    """See ``networks.FocusYolo``."""
    return _built(networks.FocusYolo)


def unet() -> nn.Module:
    """See ``networks.UNet``."""
    return _built(networks.UNet)


def gru_speech() -> nn.Module:
    """See ``networks.GruSpeech``."""
    return _built(networks.GruSpeech)


def streaming_lstm() -> nn.Module:
    """See ``networks.StreamingLstm``."""
    return _built(networks.StreamingLstm)


def separator() -> nn.Module:
    """See ``networks.Separator``."""
    return _built(networks.Separator)
