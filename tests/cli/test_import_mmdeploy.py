"""The command that writes a configuration of MMDeploy as a recipe, and the recipe in use."""

from __future__ import annotations

import pytest

from deploy.cli.compose import compose
from tests.helpers.commands import error_of, output_of

CONFIG = """
onnx_config = dict(input_shape=[320, 320], input_names=['image'])
backend_config = dict(type='onnxruntime')
codebase_config = dict(post_processing=dict(iou_threshold=0.5))
partition_config = dict(type='own', partition_cfg=[
    dict(save_file='a.onnx', start='detector_forward:input', end=['yolo_head:input'],
         output_names=[f'map.{i}' for i in range(3)])])
"""
COMMAND = ("deploy", "import-mmdeploy")


@pytest.fixture
def config_folder(tmp_path):
    (tmp_path / "net-a.py").write_text(CONFIG)
    return tmp_path


def test_the_recipe_is_printed_with_what_is_to_be_completed(config_folder):
    printed = output_of(*COMMAND, "net-a.py", cwd=config_folder)
    assert "# From net-a.py of MMDeploy:" in printed
    assert "#   detector_forward, yolo_head" in printed
    assert "# To complete, or without a counterpart:\n#   post-processing (iou_threshold" in printed


def test_the_written_recipe_is_one_of_the_main_job(config_folder):
    output_of(*COMMAND, "net-a.py", "--config-dir", "my", cwd=config_folder)
    words = ["+recipe=net_a", "model.target=my_package.nets:make_net"]
    recipe = compose(words, config_folder / "my")
    assert recipe.model.inputs["image"].shape == [1, 3, 320, 320]
    assert [segment.outputs for segment in recipe.partition.segments] == [
        ["map.0", "map.1", "map.2"]
    ]
    assert recipe.backend.name == "onnxruntime"


def test_a_recipe_is_not_written_over(config_folder):
    words = (*COMMAND, "net-a.py", "--config-dir", "my")
    output_of(*words, cwd=config_folder)
    (config_folder / "my" / "recipe" / "net_a.yaml").write_text("mine")
    assert "is there already. Pass --force to write over it." in error_of(*words, cwd=config_folder)
    assert (config_folder / "my" / "recipe" / "net_a.yaml").read_text() == "mine"
    output_of(*words, "--force", cwd=config_folder)
    assert "MMDeploy" in (config_folder / "my" / "recipe" / "net_a.yaml").read_text()
