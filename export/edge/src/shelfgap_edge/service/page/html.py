"""Build HTML so that text cannot become markup: whatever is not `Html` already is escaped."""

from __future__ import annotations

from html import escape

_VOID = frozenset(("meta", "link", "input", "br"))


class Html(str):
    """Markup that is finished."""

    __slots__ = ()


Child = str | None


def element(tag: str, /, *children: Child, **attributes: str | float | bool | None) -> Html:
    """Return an element.

    Args:
        tag: its name.
        children: text, which is escaped, or `Html`; None is left out.
        attributes: True gives one without a value, None and False none. An underscore in a name stands for a
            dash, the last one for nothing (`class_`).

    >>> element("p", "a < b", element("br"), class_="x")
    '<p class="x">a &lt; b<br></p>'
    """
    parts = []
    for key, value in attributes.items():
        attribute = key.rstrip("_").replace("_", "-")
        if value is True:
            parts.append(f" {attribute}")
        elif value is not None and value is not False:
            parts.append(f' {attribute}="{escape(str(value))}"')
    opening = f"<{tag}{''.join(parts)}>"
    return Html(opening) if tag in _VOID else Html(f"{opening}{join(*children)}</{tag}>")


def unfolding(name: str, *children: Child, id: str) -> Html:
    """Return what unfolds under a name; both have an id, so that a refresh keeps it open and the focus on the name.

    >>> unfolding("More", "text", id="more")
    '<details id="more"><summary id="unfold-more">More</summary>text</details>'
    """
    return element("details", element("summary", name, id=f"unfold-{id}"), *children, id=id)


def join(*children: Child) -> Html:
    """Return text and markup one after the other."""
    return Html("".join(child if isinstance(child, Html) else escape(child) for child in children if child is not None))
