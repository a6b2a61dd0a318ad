"""The search of a sweep: its space is checked, its trials are those of a search that nobody interrupted."""

from __future__ import annotations

import math
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from shelfgap_flows.params import ParamsError, load_params
from shelfgap_flows.params_file import save_params
from shelfgap_flows.search import Search, SweepError
from shelfgap_flows.search_space import SearchRange, SearchSpaceError, SweepParams, trial_recipe, value_at, with_values
from shelfgap_training.params import Preset
from small_network import MODEL, TRAIN

# Prefect's and Optuna's tables use what SQLAlchemy 2.1 deprecates
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")

REPOSITORY = Path(__file__).parents[2]
PRESET = Preset(model=MODEL, train=TRAIN)
RATE = "train.learning_rate"
SWEEP = SweepParams(
    trials=8,
    random_trials=3,
    epochs=4,
    imitation_epochs=2,
    validate_every_epochs=2,
    seed=5,
    concurrency=1,
    space={
        RATE: SearchRange(low=0.0005, high=0.05, log=True),
        "train.batch_size": SearchRange(low=2, high=6, log=False),
    },
)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s["space"].update({"train.rate": bounds(0, 1)}), r"sweep\.space\.train\.rate: names no number"),
        (lambda s: s["space"].update({"train.loss": bounds(0, 1)}), r"sweep\.space\.train\.loss: names no number"),
        (lambda s: s["space"].update({"train.epochs": bounds(1, 9)}), r"train\.epochs: the sweep sets it itself"),
        (lambda s: s["space"].update({"train.batch_size": bounds(1, 4.5)}), r"train\.batch_size: a count"),
        (lambda s: s["space"].update({"train.ema_decay": bounds(0.5, 1)}), r"train\.ema_decay: Input should be less"),
        (lambda s: s["space"].update({RATE: bounds(-1, 1)}), r"learning_rate: Input should be greater than 0, got -1"),
        (lambda s: s["space"].update({RATE: bounds(2, 1)}), "low must be below high, got 2 and 1"),
        (lambda s: s["space"].update({RATE: {**bounds(0, 1), "log": True}}), "a logarithmic range begins above 0"),
        (lambda s: s["space"].clear(), r"sweep\.space: Dictionary should have at least 1 item"),
        (lambda s: s.update(validate_every_epochs=5), "must be multiples of validate_every_epochs"),
        (lambda s: s.update(imitation_epochs=5), "must be multiples of validate_every_epochs"),
    ],
)
def test_a_space_that_makes_no_recipe_is_refused_by_its_key(tmp_path, change, message):
    values = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    change(values["sweep"])
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(values))
    with pytest.raises(ParamsError, match=message) as caught:
        load_params(path)
    assert "\n" not in str(caught.value)


def bounds(low, high):
    return {"low": low, "high": high, "log": False}


def test_the_recipe_of_a_trial_differs_from_the_preset_where_it_should_and_nowhere_else():
    recipe = trial_recipe(PRESET, SWEEP, {RATE: 0.01, "train.batch_size": 3})
    expected = TRAIN.model_copy(
        update={"learning_rate": 0.01, "batch_size": 3, "epochs": 4, "validate_every_epochs": 2}
    )
    assert recipe == Preset(model=MODEL, train=expected)
    imitating = TRAIN.model_copy(update={"imitation": TRAIN.imitation.model_copy(update={"epochs": 40})})
    assert trial_recipe(Preset(model=MODEL, train=imitating), SWEEP, {}).train.imitation.epochs == 2
    with pytest.raises(SearchSpaceError, match=r"sweep\.space\.train\.batch_size: Input should be .* got 0"):
        trial_recipe(PRESET, SWEEP, {"train.batch_size": 0})


@settings(max_examples=6, deadline=None)
@given(
    preset=st.sampled_from(["fast", "accurate"]),
    rate=st.floats(1e-6, 1),
    box=st.floats(0, 10),
    start=st.sampled_from([None, "models/champions/ab.pt"]),
)
def test_a_saved_file_says_what_it_should_of_every_preset_and_keeps_comments(
    tmp_path_factory, preset, rate, box, start
):
    """`accurate` takes its recipe from `fast` through a YAML anchor, and must not change with it."""
    path = tmp_path_factory.mktemp("params") / "params.yaml"
    params = load_params(REPOSITORY / "params.yaml")
    changed = with_values(params.presets[preset], {RATE: rate, "train.loss.box_weight": box})
    changed = changed.model_copy(update={"train": changed.train.model_copy(update={"initial_weights": start})})
    wanted = params.model_copy(update={"presets": {**params.presets, preset: changed}})
    save_params(path, wanted, like=REPOSITORY / "params.yaml")
    assert load_params(path) == wanted
    assert "# decides every assignment" in path.read_text()
    save_params(path, params)
    assert load_params(path) == params


def test_presets_that_are_one_mapping_are_parted(tmp_path):
    """No edit of such a file in place can part them: it is written out."""
    values = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    values["presets"] = {"fast": values["presets"]["fast"], "again": values["presets"]["fast"]}
    path = tmp_path / "params.yaml"
    path.write_text(yaml.dump(values))
    assert "&id" in path.read_text()
    params = load_params(path)
    changed = with_values(params.presets["again"], {RATE: 0.5})
    wanted = params.model_copy(update={"presets": {**params.presets, "again": changed}})
    save_params(path, wanted)
    assert load_params(path) == wanted


@pytest.mark.parametrize(
    "edit",
    [
        lambda text: text.replace("    train.weight_decay:", "    train.warmup_epochs:"),
        lambda text: text.replace("  accurate:\n", "  slow:\n"),
        lambda text: text + "more: 1\n",
        lambda text: text.replace("preset: fast", "preset: [fast"),
        lambda text: "",
    ],
    ids=["another space", "a preset renamed", "an unknown key", "no YAML", "empty"],
)
def test_parameters_are_saved_like_a_file_that_was_edited_since_they_were_read(tmp_path, edit):
    """A sweep saves hours after it read them."""
    like = tmp_path / "params.yaml"
    text = (REPOSITORY / "params.yaml").read_text()
    like.write_text(edit(text))
    assert like.read_text() != text
    params = load_params(REPOSITORY / "params.yaml")
    save_params(tmp_path / "best.yaml", params, like=like)
    assert load_params(tmp_path / "best.yaml") == params


def test_words_that_only_older_yaml_takes_for_something_else_stay_words(tmp_path):
    path = tmp_path / "params.yaml"
    text = (REPOSITORY / "params.yaml").read_text()
    path.write_text(text.replace("    low: []", "    low: [no, off]"))
    params = load_params(path)
    assert params.dataset.class_aliases["low"] == ["no", "off"]
    save_params(path, params.model_copy(update={"preset": "accurate"}))
    assert load_params(path) == params.model_copy(update={"preset": "accurate"})
    assert "# decides every assignment" in path.read_text()


def search(folder, key="k", sweep=SWEEP):
    return Search(folder / "studies.db", "study", sweep, PRESET, key)


def found(values, epoch):
    """A made-up validation AP50: best near a learning rate of 0.01."""
    return 1 / (1 + abs(values[RATE] - 0.01) * 100) * epoch / SWEEP.epochs


def train(trial, epochs=(2, 4)):
    for epoch in epochs:
        if not trial.is_promising(epoch, found(trial.values, epoch)):
            trial.prune()
            return
    trial.complete(found(trial.values, SWEEP.epochs))


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    for number in search(folder).left_to_do(SWEEP.trials):
        train(search(folder).begin(number))
    return search(folder).rows()


def test_the_first_trial_is_the_recipe_as_it_is(unbroken):
    assert unbroken[0].values == {key: value_at(PRESET, key) for key in SWEEP.space}
    assert len({tuple(row.values.values()) for row in unbroken}) == SWEEP.trials
    for row in unbroken:
        assert all(SWEEP.space[key].low <= value <= SWEEP.space[key].high for key, value in row.values.items())
        assert isinstance(row.values["train.batch_size"], int)


def test_a_recipe_outside_the_space_is_no_trial(tmp_path):
    space = {RATE: SearchRange(low=0.01, high=0.02, log=False)}  # the recipe has 0.004
    trial = search(tmp_path, sweep=SWEEP.model_copy(update={"space": space})).begin(None)
    assert 0.01 <= trial.values[RATE] <= 0.02


def test_hopeless_trials_are_pruned_and_the_random_ones_never(unbroken):
    assert [row.state for row in unbroken[: SWEEP.random_trials]] == ["complete"] * SWEEP.random_trials
    halfway = [row for row in unbroken if row.state == "pruned"]
    assert halfway
    best_complete = max(row.val_ap50 for row in unbroken if row.state == "complete")
    for row in halfway:
        assert row.epochs == 2
        assert row.val_ap50 == pytest.approx(found(row.values, 2))
        assert row.val_ap50 * 2 < best_complete


def test_a_search_that_was_broken_off_goes_on_to_the_same_trials(tmp_path, unbroken):
    for number in range(SWEEP.trials):
        assert search(tmp_path).left_to_do(number) == []
        (new,) = search(tmp_path).left_to_do(number + 1)
        cut = search(tmp_path).begin(new)
        cut.set_run_id(f"run-{number}")
        was_pruned = not cut.is_promising(2, found(cut.values, 2))  # here the process is killed
        assert search(tmp_path).left_to_do(number + 1) == [number]
        again = search(tmp_path).begin(number)
        assert (again.number, again.values, again.run_id) == (number, cut.values, f"run-{number}")
        if was_pruned:
            again.prune()
        else:
            train(again, epochs=(2, 4))  # the epoch that was validated before the kill is validated again
    rows = [(row.values, row.state, row.val_ap50, row.epochs) for row in search(tmp_path).rows()]
    assert rows == [(row.values, row.state, row.val_ap50, row.epochs) for row in unbroken]


def test_a_finished_search_has_nothing_left_and_takes_more(tmp_path):
    for number in search(tmp_path).left_to_do(2):
        train(search(tmp_path).begin(number))
    assert search(tmp_path).left_to_do(2) == []
    assert search(tmp_path).left_to_do(5) == [None] * 3


def test_what_the_last_validation_found_outlives_a_kill(tmp_path):
    trial = search(tmp_path).begin(None)
    trial.is_promising(2, 0.25)
    assert math.isnan(search(tmp_path).begin(0).last_found)
    trial.is_promising(4, 0.5)
    assert search(tmp_path).begin(0).last_found == 0.5


def test_trials_that_begin_at_the_same_moment_are_not_the_same(tmp_path):
    together = threading.Barrier(4)

    def begin(own):
        together.wait()
        return own.begin(None).number

    for attempt in map(str, range(5)):  # one goes well as a rule
        (tmp_path / attempt).mkdir()
        searches = [search(tmp_path / attempt) for _ in range(4)]
        with ThreadPoolExecutor(4) as threads:
            assert sorted(threads.map(begin, searches)) == [0, 1, 2, 3]


def test_a_failure_is_kept_with_its_reason_and_is_no_result(tmp_path):
    trial = search(tmp_path).begin(None)
    trial.fail("out of memory")
    (row,) = search(tmp_path).rows()
    assert (row.state, row.reason, row.val_ap50) == ("failed", "out of memory", None)
    assert search(tmp_path).left_to_do(1) == []


def test_a_store_that_is_none_is_told_in_one_line(tmp_path):
    (tmp_path / "studies.db").write_bytes(b"no database" * 100)
    message = r"studies\.db: no store of studies \(file is not a database\); move it away to begin anew$"
    with pytest.raises(SweepError, match=message):
        search(tmp_path)


def test_other_data_or_parameters_do_not_mix_into_a_study(tmp_path):
    search(tmp_path)
    with pytest.raises(SweepError, match="study study was begun with other parameters, data or code; name another"):
        search(tmp_path, key="other")
