"""The result of a release for people: rows of a table, on the terminal and as Markdown."""

from __future__ import annotations

import shlex
import sys

from shelfgap_training.report import figure_text

from shelfgap_flows.outcome import Release


def summary_rows(release: Release) -> list[tuple[str, str]]:
    """Return name and value of each row."""
    data, int8, fp32 = release.dataset, release.evaluation, release.fp32_evaluation

    def latency(precision: str) -> str:
        row = release.latency_ms[precision]
        p50, p90 = (f"{v:.2f} ms" if v is not None else "too few samples" for v in (row["p50"], row["p90"]))
        return f"p50 {p50}, p90 {p90}"

    def points(figure: dict[str, float | None]) -> str:
        return "nothing labelled" if figure["value"] is None else figure_text(figure)

    return [
        ("dataset", str(data["source"])),
        (
            "images",
            f"{data['train_images']} train, {data['val_images']} validation, {data['test_images']} test",
        ),
        ("AP50 fp32", points(fp32["ap50"])),
        ("AP50 INT8", points(int8["ap50"])),
        ("precision, recall", f"{points(int8['precision'])}, {points(int8['recall'])} (INT8)"),
        (
            "full shelves",
            f"{int8['full_shelves']} in test, false alarms on each {points(int8['false_alarms_per_full_shelf'])} (INT8)"
            if int8["full_shelves"]
            else "none in test",
        ),
        ("latency fp32", latency("fp32")),
        ("latency INT8", latency("int8")),
        ("gate", f"{release.verdict}: {release.reason}"),
        ("bundle", release.bundle or "none, the gate did not pass"),
        ("registry", "not registered" if release.registry_version is None else f"version {release.registry_version}"),
        ("MLflow run", release.mlflow_run_id),
        (
            "MLflow page",
            f"{shlex.quote(sys.executable)} -m mlflow ui "
            f"--backend-store-uri {shlex.quote(f'sqlite:///{release.workspace}/mlflow/mlflow.db')} --port 5000",
        ),
    ]


def summary_markdown(release: Release) -> str:
    """Return the table as Markdown."""
    lines = ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in summary_rows(release))]
    return "\n".join(lines) + "\n"
