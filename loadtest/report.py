"""A measurement's report: Markdown for people, JSON for programs, plots as PNG, in a folder of its own."""

from __future__ import annotations

import json
import os
import platform
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot
from matplotlib.axes import Axes

REPORTS = Path(__file__).parent / "reports"
_SIZE_INCHES = (9.0, 3.6)
_DPI = 120


class Report:
    """Collects what is to be said; `write` makes the folder `loadtest/reports/NAME-TIME/`."""

    def __init__(self, name: str, title: str, *, folder: Path | None = None) -> None:
        self.folder = folder or REPORTS / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.figures: dict[str, Any] = {}
        self._parts = [f"# {title}", _how_it_was_run(name)]

    def say(self, text: str) -> None:
        self._parts.append(text)

    def heading(self, text: str) -> None:
        self._parts.append(f"## {text}")

    def table(self, headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        lines = [headers, ["---"] * len(headers), *rows]
        self._parts.append("\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines))

    def plot(self, name: str, title: str, draw: Callable[[Axes], None]) -> None:
        """One picture; `draw` is given its axes."""
        figure, axes = pyplot.subplots(figsize=_SIZE_INCHES, layout="constrained")
        try:
            axes.set_title(title, loc="left", fontsize=10)
            axes.grid(visible=True, alpha=0.25)
            axes.spines[["top", "right"]].set_visible(False)
            draw(axes)
            figure.savefig(self.folder / f"{name}.png", dpi=_DPI)
        finally:
            pyplot.close(figure)
        self._parts.append(f"![{title}]({name}.png)")

    def write(self) -> Path:
        """The path of the Markdown file."""
        page = self.folder / "report.md"
        page.write_text("\n\n".join(self._parts) + "\n", encoding="utf-8")
        (self.folder / "report.json").write_text(json.dumps(self.figures, indent=2) + "\n", encoding="utf-8")
        return page


def seconds(value: float | None) -> str:
    """For a table: two decimals, or a dash for what never came."""
    return "–" if value is None else f"{value:.2f} s"


def milliseconds(value_s: float | None) -> str:
    return "–" if value_s is None else f"{value_s * 1000:,.2f} ms"


def _how_it_was_run(name: str) -> str:
    arguments = shlex.join(sys.argv[1:]) if sys.argv[0].endswith(f"{name}.py") else ""
    command = f"python -m loadtest.{name} {arguments}".rstrip()
    machine = (
        f"{os.cpu_count()} processors, {platform.system()} {platform.release()}, Python {platform.python_version()}"
    )
    return f"`{command}`, {time.strftime('%Y-%m-%d %H:%M')}, {machine}. Clients, proxy and nodes share the machine."
