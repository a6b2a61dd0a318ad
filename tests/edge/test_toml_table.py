"""A configuration is read key by key, and every mistake is named with its place."""

from __future__ import annotations

from pathlib import Path

import pytest
from shelfgap_edge.toml_table import ConfigError, Table, read_toml


@pytest.fixture
def table(tmp_path):
    def table(text):
        path = tmp_path / "edge.toml"
        path.write_text(text)
        return read_toml(path)

    return table


def test_values_of_all_kinds_are_read(table):
    read = table(
        'name = "a"\ncount = 3\nshare = 1\non = true\nside = "left"\nnames = ["x", "y"]\n'
        "[inner]\nk = 1\n[[rows]]\nk = 2\n[[rows]]\nk = 3\n[by.one]\nk = 4\n"
    )
    assert read.text("name") == "a"
    assert read.integer("count", low=0, high=3) == 3
    share = read.number("share", low=0, high=1)
    assert (share, type(share)) == (1.0, float)
    assert read.flag("on") is True
    assert read.choice("side", ("left", "right")) == "left"
    assert read.items("names", str) == ["x", "y"]
    assert read.table("inner").integer("k", low=0, high=9) == 1
    assert [row.integer("k", low=0, high=9) for row in read.tables("rows")] == [2, 3]
    assert {name: one.integer("k", low=0, high=9) for name, one in read.named("by").items()} == {"one": 4}
    read.done()


def test_what_is_left_out_takes_its_default():
    read = Table({}, "edge.toml")
    assert read.text("name", None) is None
    assert read.integer("count", 7, low=0, high=3) == 7
    assert read.tables("rows") == []
    read.table("inner").done()
    with pytest.raises(ConfigError, match=r"edge\.toml: name is missing; expected a string"):
        read.text("name")


@pytest.mark.parametrize(
    ("text", "read", "message"),
    [
        ("k = 1", lambda t: t.text("k"), "k: expected a string, got 1"),
        ('k = ""', lambda t: t.text("k"), "k: expected a string that is not empty"),
        ('k = "a\\u0000b"', lambda t: t.path("k"), "k: expected a string that is not empty and has no NUL"),
        ("k = true", lambda t: t.integer("k", low=0, high=9), "k: expected an integer from 0 to 9, got True"),
        ("k = 1.5", lambda t: t.integer("k", low=0, high=9), "k: expected an integer from 0 to 9, got 1.5"),
        ("k = 10", lambda t: t.integer("k", low=0, high=9), "k: expected an integer from 0 to 9, got 10"),
        ("k = nan", lambda t: t.number("k", low=0, high=1), "k: expected a number from 0 to 1, got nan"),
        ("k = 1", lambda t: t.flag("k"), "k: expected true or false, got 1"),
        ('k = "up"', lambda t: t.choice("k", ("left", "right")), "k: expected left or right, got 'up'"),
        ("k = [1]", lambda t: t.items("k", str), r"k: expected a list of str, got \[1\]"),
        ("k = 1", lambda t: t.table("k"), "k: expected a table, got 1"),
        ("[k]\na = 1", lambda t: t.named("k"), "k.a: expected a table, got 1"),
        ("[k]\na = 1", lambda t: t.table("k").done(), "edge.toml.k: unknown a; known here: none"),
        ("kk = 1", lambda t: (t.flag("k", None), t.done()), "edge.toml: unknown kk; known here: k"),
    ],
)
def test_a_mistake_is_named(table, text, read, message):
    with pytest.raises(ConfigError, match=message):
        read(table(text))


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.toml: No such file"):
        read_toml(tmp_path / "none.toml")
    path = tmp_path / "bad.toml"
    path.write_text("k = = 1")
    with pytest.raises(ConfigError, match=r"bad\.toml: Invalid value"):
        read_toml(path)
    path.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=r"bad\.toml: .*utf-8"):
        read_toml(path)
    for value in ("9" * 5000, "[" * 5000 + "]" * 5000):
        path.write_text(f"k = {value}")
        with pytest.raises(ConfigError, match=r"bad\.toml: "):
            read_toml(path)


def test_paths_are_relative_to_the_file_in_every_table(table, tmp_path):
    read = table('a = "one"\nb = "/two"\n[inner]\nc = "three"\n[[rows]]\nd = "four"\n[by.one]\ne = "five"\n')
    assert (read.path("a"), read.path("b"), read.path("z", None)) == (tmp_path / "one", Path("/two"), None)
    assert read.table("inner").path("c") == tmp_path / "three"
    assert read.tables("rows")[0].path("d") == tmp_path / "four"
    assert read.named("by")["one"].path("e") == tmp_path / "five"
    assert Table({"a": "one"}, "x").path("a") == Path("one")
