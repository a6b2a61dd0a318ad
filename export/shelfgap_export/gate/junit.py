"""A verdict as JUnit XML: one test case a check, for the pages that CI systems make of it."""

from __future__ import annotations

from xml.etree import ElementTree

from shelfgap_datasets.xml_text import NOT_XML

from shelfgap_export.gate.judge import Gate
from shelfgap_export.gate.markdown import headline, needs_text


def gate_junit(gate: Gate) -> str:
    """Return the XML.

    A check that fails is a failure; one that is inconclusive an error, so that it does not look like a pass either; one
    that is not judged is skipped. There is no schema of JUnit's own: these elements are those that Jenkins, GitLab and
    GitHub's reporters read.

    Source: https://github.com/testmoapp/junitxml
    """
    said = [check.verdict for check in gate.checks]
    counts = {
        "tests": len(said),
        "failures": said.count("fail"),
        "errors": said.count("inconclusive"),
        "skipped": said.count("not judged"),
    }
    suites = ElementTree.Element("testsuites", {"name": "shelfgap gate", **_texts(counts)})
    suite = ElementTree.SubElement(
        suites, "testsuite", {"name": f"gate: {gate.verdict}", "timestamp": gate.created_at, **_texts(counts)}
    )
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in {
        "verdict": gate.verdict,
        "subject": headline(gate),
        "candidate.identity": gate.candidate.entrant.identity,
        "dataset.sha256": gate.dataset_sha256,
    }.items():
        ElementTree.SubElement(properties, "property", {"name": name, "value": value})
    for check in gate.checks:
        case = ElementTree.SubElement(
            suite, "testcase", {"classname": f"gate.{check.kind.replace(' ', '_')}", "name": check.name}
        )
        tag = {"fail": "failure", "inconclusive": "error", "not judged": "skipped"}.get(check.verdict)
        if tag is None:
            ElementTree.SubElement(case, "system-out").text = check.reason
        else:
            more = needs_text(check)
            told = ElementTree.SubElement(case, tag, {"message": check.reason})
            told.text = f"{check.reason}. {more}" if more else check.reason
    ElementTree.indent(suites)
    text = ElementTree.tostring(suites, encoding="unicode", xml_declaration=True)
    return NOT_XML.sub("\ufffd", text) + "\n"  # names of stores and cameras are free


def _texts(counts: dict[str, int]) -> dict[str, str]:
    return {name: str(count) for name, count in counts.items()}
