"""A configuration of MMDetection: YOLOv3 with a quarter of the channels and ten classes."""

_base_ = "mmdet::yolo/yolov3_d53_8xb8-320-273e_coco.py"

custom_imports = {"imports": ["narrow_darknet"], "allow_failed_imports": False}
model = {
    "backbone": {"type": "NarrowDarknet", "init_cfg": None},
    "neck": {"in_channels": [256, 128, 64], "out_channels": [128, 64, 32]},
    "bbox_head": {
        "num_classes": 10,
        "in_channels": [128, 64, 32],
        "out_channels": [256, 128, 64],
    },
}
