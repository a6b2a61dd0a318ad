"""params.yaml: one file for repository and package, strict keys, errors that name the key."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from shelfgap_flows.params import Params, ParamsError, load_params, params_hash, workspace_params

REPOSITORY = Path(__file__).parents[2]


def changed(tmp_path, change):
    values = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    change(values)
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def fast(values):
    return values["presets"]["fast"]


def test_the_repository_holds_the_defaults_of_the_package(tmp_path):
    assert load_params(REPOSITORY / "params.yaml") == workspace_params(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: fast(v)["train"].pop("epochs"), "presets.fast.train.epochs: Field required"),
        (lambda v: fast(v)["train"].update(epoch=3), "presets.fast.train.epoch: Extra inputs are not permitted"),
        (lambda v: fast(v)["train"].update(epochs=0), "train.epochs: Input should be greater than or equal to 1"),
        (lambda v: fast(v)["train"].update(epochs="many"), "train.epochs: Input should be a valid integer"),
        (lambda v: v.pop("gate"), "gate: Field required"),
        (lambda v: v["gate"].update(min_ap50=1.5), "gate.min_ap50: Input should be less than or equal to 1"),
        (lambda v: v["gate"].update(min_ap50=float("nan")), "gate.min_ap50"),
        (lambda v: fast(v)["model"].update(stage_channels=[1, 2]), "presets.fast.model.stage_channels"),
        (lambda v: fast(v)["model"].update(input_height=321), "presets.fast.model.input_height"),
        (lambda v: fast(v)["model"].update(stage_channels=[0, 8, 8, 8]), "presets.fast.model.stage_channels.0"),
        (lambda v: fast(v)["model"].update(stage_blocks=[1, 1, 1, -1]), "presets.fast.model.stage_blocks.3"),
        (lambda v: fast(v)["train"].update(seed=2**32), "presets.fast.train.seed"),
        (lambda v: fast(v)["train"]["augment"].update(scale=[0, 1]), "presets.fast.train.augment.scale.0"),
        (lambda v: v["evaluation"].update(gallery=2000), "evaluation.gallery: Input should be less than or equal to"),
        (
            lambda v: v["shelf_day"].update(open_hour=9, close_hour=12),
            "close_hour must be at least 4 hours after open_hour",
        ),
        (lambda v: v.update(preset="slow"), "preset 'slow' is none of presets (accurate, fast)"),
        (lambda v: v["presets"].update({"fast.2": fast(v)}), "presets.fast.2.[key]: String should match pattern"),
        (lambda v: v["presets"].update({"store's": fast(v)}), "presets.store's.[key]: String should match pattern"),
    ],
)
def test_a_wrong_key_is_named(tmp_path, change, message):
    path = changed(tmp_path, change)
    with pytest.raises(ParamsError) as caught:
        load_params(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_only_the_first_three_of_many_problems_are_listed(tmp_path):
    path = changed(tmp_path, lambda v: v["gate"].update(a=1, b=2, c=3, d=4, e=5))
    with pytest.raises(ParamsError, match=r"gate\.c: Extra inputs are not permitted and 2 more$"):
        load_params(path)


@pytest.mark.parametrize("content", [b"", b"- a\n- b\n", b"train: [unclosed", b"\xff\xfe\x00"])
def test_what_is_not_a_mapping_is_refused_in_one_line(tmp_path, content):
    path = tmp_path / "params.yaml"
    path.write_bytes(content)
    with pytest.raises(ParamsError, match=r"params\.yaml: ") as caught:
        load_params(path)
    assert "\n" not in str(caught.value)


def test_a_key_that_stands_twice_is_refused(tmp_path):
    path = tmp_path / "params.yaml"
    text = (REPOSITORY / "params.yaml").read_text()
    path.write_text(text.replace("preset: fast ", "preset: accurate\npreset: fast ", 1))
    message = r'params\.yaml: cannot be read \(line \d+: found duplicate key "preset" with value "fast" .*\)$'
    with pytest.raises(ParamsError, match=message):
        load_params(path)


def test_line_ends_and_a_byte_order_mark_of_other_editors_change_nothing(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + (REPOSITORY / "params.yaml").read_bytes().replace(b"\n", b"\r\n"))
    assert load_params(path) == load_params(REPOSITORY / "params.yaml")


def test_a_folder_that_is_not_there_has_no_parameters(tmp_path):
    with pytest.raises(ParamsError, match=r"typo: no such folder; --workspace takes one with a params\.yaml"):
        workspace_params(tmp_path / "typo")


def test_a_missing_file_says_where_to_start(tmp_path):
    with pytest.raises(ParamsError, match="no such file; start in a workspace, or name one with --workspace"):
        load_params(tmp_path / "params.yaml")


def test_the_hash_sees_values_not_layout(tmp_path):
    one = load_params(REPOSITORY / "params.yaml")
    same = load_params(changed(tmp_path, lambda v: None))
    other = load_params(changed(tmp_path, lambda v: fast(v)["train"].update(seed=2)))
    assert params_hash(one) == params_hash(same) != params_hash(other)
    assert params_hash(one.model) == params_hash(other.model)


def test_a_preset_brings_its_own_network_and_recipe():
    params = load_params(REPOSITORY / "params.yaml")
    accurate = params.with_preset("accurate")
    assert (accurate.model, accurate.train) == (params.presets["accurate"].model, params.presets["accurate"].train)
    assert accurate.model != params.model
    assert params.with_preset("fast") == params
    with pytest.raises(ParamsError, match=r"no preset 'slow' in params\.yaml, it has fast, accurate"):
        params.with_preset("slow")


def test_every_section_is_listed_in_the_file():
    assert list(yaml.safe_load((REPOSITORY / "params.yaml").read_text())) == list(Params.model_fields)
