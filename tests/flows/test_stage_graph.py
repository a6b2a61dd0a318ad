"""dvc.yaml against the code: its commands exist, its parameters exist, and a stage reads only what it declares."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest
import typer
import yaml
from shelfgap_flows import gate, measure, stages
from shelfgap_flows.cli import app
from shelfgap_flows.params import Params
from shelfgap_flows.release import data_stages, release_flow

REPOSITORY = Path(__file__).parents[2]
GRAPH = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["stages"]
CHAMPION = "release/champion"  # what was released before: the flow puts it there
RAW_PARAMS = yaml.safe_load((REPOSITORY / "params.yaml").read_text())


def commands(stage):
    given = GRAPH[stage]["cmd"]
    return given if isinstance(given, list) else [given]


def parameters(stage):
    return [key.replace("${preset}", RAW_PARAMS["preset"]) for key in GRAPH[stage].get("params", [])]


def produced(stage):
    entries = [*GRAPH[stage].get("outs", []), *GRAPH[stage].get("metrics", [])]
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]


def test_the_package_ships_the_graph_of_the_repository():
    from importlib import resources

    for name in ("dvc.yaml", "params.yaml"):
        shipped = resources.files("shelfgap_flows") / "template" / name
        assert shipped.read_text() == (REPOSITORY / name).read_text()


@pytest.mark.parametrize("stage", GRAPH)
def test_each_stage_runs_commands_that_exist(stage):
    known = {"train", "export", "quantize", "evaluate", "bench", "gate", "bundle"}
    for command in commands(stage):
        program, name, *rest = command.split()
        assert program == "shelfgap"
        assert name in known or (name == "data" and rest[0] in {"import", "split", "check", "synth"})
        if name in known:
            assert name in typer.main.get_command(app).commands


@pytest.mark.parametrize("stage", GRAPH)
def test_no_shell_reads_the_name_of_a_folder(stage):
    assert not [command for command in commands(stage) if "${" in command]  # it may hold quotes


@pytest.mark.parametrize("stage", GRAPH)
def test_each_parameter_of_a_stage_exists(stage):
    for key in parameters(stage):
        value = RAW_PARAMS
        for part in key.split("."):
            value = value[part]


def test_every_parameter_reaches_a_stage():
    sections = {key.split(".")[0] for stage in GRAPH.values() for key in stage.get("params", [])}
    assert sections == set(Params.model_fields) - {"shelf_day", "sweep", "timeline"}  # of commands that no stage calls


def test_no_file_has_two_makers_and_every_dependency_has_one():
    makers = [path for stage in GRAPH for path in produced(stage)]
    assert len(makers) == len(set(makers))
    needed = {dep for stage in GRAPH.values() for dep in stage.get("deps", [])} - {"${dataset.source}", CHAMPION}
    assert needed <= set(makers)


def test_the_flow_names_every_stage_in_an_order_that_the_graph_allows():
    source = ast.parse(inspect.getsource(data_stages) + inspect.getsource(release_flow.fn).lstrip())
    named = {node.value for node in ast.walk(source) if isinstance(node, ast.Constant)} & set(GRAPH)
    assert named == set(GRAPH)
    order = ["synth", "dataset", "train", "export", "quantize", "evaluate", "bench", "pairs", "gate", "bundle"]
    made = {"${dataset.source}", CHAMPION}
    for stage in order:
        assert set(GRAPH[stage].get("deps", [])) <= made
        made |= set(produced(stage))


@pytest.mark.parametrize("stage", ["train", "export", "quantize", "evaluate", "bench", "pairs", "gate", "bundle"])
def test_a_stage_function_reads_only_declared_parameters(stage):
    """`params.quantize.calibration_images` in the code must stand in the `params` of the stage."""
    named = {name: value for module in (gate, measure, stages) for name, value in vars(module).items()}
    source = ast.parse(inspect.getsource(named[f"{stage}_stage"]))
    declared = GRAPH[stage].get("params", [])
    # the name of a bundle and the hash of all parameters are labels of the artefact, not inputs of its content
    for node in ast.walk(source):
        if not isinstance(node, ast.Attribute):
            continue
        text = ast.unparse(node)
        if not text.startswith("params."):
            continue
        key = text.removeprefix("params.")
        section = key.split(".")[0]
        section = {"model": "presets", "train": "presets"}.get(section, section)  # those of the chosen preset
        assert any(d in (key, section) or d.startswith(f"{section}.") for d in declared), f"{stage}: {key}"
