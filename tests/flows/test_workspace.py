"""A workspace: made from the template, changed only where asked, refused with a reason."""

from __future__ import annotations

from threading import Thread

import pytest
import yaml
from shelfgap_flows.params import ParamsError
from shelfgap_flows.workspace import WorkspaceError, open_alone, open_workspace, run_dvc


def test_a_new_directory_becomes_a_workspace(tmp_path):
    workspace = open_workspace(tmp_path / "runs" / "one")
    root = tmp_path / "runs" / "one"
    assert {"params.yaml", "dvc.yaml", ".dvc"} <= {path.name for path in root.iterdir()}
    assert workspace.params().dataset.source == "data/synthetic"


def test_the_dataset_is_set_and_comments_are_kept(tmp_path):
    photographs = tmp_path / "photo graphs"
    photographs.mkdir()
    workspace = open_workspace(tmp_path / "ws", dataset=photographs)
    text = workspace.params_file.read_text()
    assert workspace.params().dataset.source == str(photographs)
    assert "# decides every assignment" in text
    edited = text.replace("salt: shelfgap-1", "salt: mine")
    workspace.params_file.write_text(edited)
    open_workspace(tmp_path / "ws")  # a second time: what the user wrote stays
    assert workspace.params_file.read_text() == edited


def test_given_parameters_replace_those_of_the_workspace(tmp_path):
    workspace = open_workspace(tmp_path / "ws")
    values = yaml.safe_load(workspace.params_file.read_text())
    values["presets"]["fast"]["train"]["epochs"] = 2
    given = tmp_path / "mine.yaml"
    given.write_text(yaml.safe_dump(values))
    assert open_workspace(tmp_path / "ws", params=given).params().train.epochs == 2


def test_a_preset_is_chosen_and_an_unknown_one_leaves_the_workspace_untouched(tmp_path):
    workspace = open_workspace(tmp_path / "ws", preset="accurate")
    params = workspace.params()
    assert params.model == params.presets["accurate"].model
    assert "# which of the presets is trained" in workspace.params_file.read_text()
    with pytest.raises(ParamsError, match=r"no preset 'huge' in params\.yaml, it has fast, accurate"):
        open_workspace(tmp_path / "other", preset="huge")
    assert not (tmp_path / "other").exists()


def test_wrong_parameters_leave_the_workspace_untouched(tmp_path):
    given = tmp_path / "mine.yaml"
    given.write_text("train: 1")
    with pytest.raises(ParamsError, match=r"mine\.yaml: dataset: Field required"):
        open_workspace(tmp_path / "ws", params=given)
    assert not (tmp_path / "ws").exists()


@pytest.mark.parametrize("content", ["", "preset: [fast", "preset: fast\npreset: fast\n"])
def test_a_damaged_params_yaml_is_refused_and_kept(tmp_path, content):
    workspace = open_workspace(tmp_path / "ws")
    workspace.params_file.write_text(content)
    with pytest.raises(ParamsError, match=r"ws/params\.yaml: "):
        open_workspace(tmp_path / "ws", dataset=tmp_path)
    assert workspace.params_file.read_text() == content


def test_whoever_reads_params_yaml_sees_a_whole_one(tmp_path):
    workspace = open_workspace(tmp_path / "ws")
    before = workspace.params_file.read_text()
    given = tmp_path / "mine.yaml"
    given.write_text(before.replace("salt: shelfgap-1", "salt: mine"))
    for change in ({"preset": "accurate"}, {"params": given}):
        with workspace.params_file.open() as reader:
            text = workspace.params_file.read_text()
            open_workspace(tmp_path / "ws", **change)
            assert reader.read() == text  # replaced, not written over
        assert workspace.params_file.read_text() != text


def test_a_second_release_changes_params_yaml_when_the_first_is_done(tmp_path):
    seen = []

    def second():
        with open_alone(tmp_path / "ws", preset="accurate") as workspace:
            seen.append(workspace.params().preset)

    with open_alone(tmp_path / "ws", preset="fast") as workspace:
        other = Thread(target=second)
        other.start()
        other.join(1.0)
        assert (seen, workspace.params().preset) == ([], "fast")
    other.join()
    assert seen == ["accurate"]


def test_a_retraining_waits_for_a_release(tmp_path, monkeypatch):
    from shelfgap_flows import retrain

    begun = []

    def begin(*_):
        begun.append(1)
        raise retrain.RetrainError("enough")

    def second():
        with pytest.raises(retrain.RetrainError, match="enough"):
            retrain.retrain_flow.fn(str(tmp_path / "ws"))

    monkeypatch.setattr(retrain, "point_at_data", begin)
    with open_alone(tmp_path / "ws"):
        other = Thread(target=second)
        other.start()
        other.join(1.0)
        assert begun == []
    other.join()
    assert begun == [1]


def test_a_file_is_no_workspace_and_a_missing_dataset_no_dataset(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkspaceError, match="file: is a file, expected a directory for the workspace"):
        open_workspace(tmp_path / "file")
    with pytest.raises(WorkspaceError, match="none: no such folder; --dataset takes a folder of photographs"):
        open_workspace(tmp_path / "ws", dataset=tmp_path / "none")


def test_a_command_that_dvc_refuses_is_an_error(tmp_path):
    workspace = open_workspace(tmp_path / "ws")
    with pytest.raises(WorkspaceError, match=r"dvc repro --single-item nothing ended with exit code \d+"):
        run_dvc(workspace, "repro", "--single-item", "nothing")
