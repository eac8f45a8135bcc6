"""Tables, for the eye and for docs/benchmarks.md."""

import pathlib
import re
import sys

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"


def number(value, digits=3):
    """Three significant digits, as people write them."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.{max(0, digits - len(str(int(value))))}f}"


class Table:
    """Rows of text."""

    def __init__(self, title, note=""):
        self.title, self.note = title, note
        self.heading, self.rows = [], []

    def print(self):
        print(f"\n{self.title}")
        if self.note:
            print(f"  ({self.note})")
        cells = [self.heading, *self.rows]
        widths = [max(len(row[i]) for row in cells) for i in range(len(self.heading))]
        for row in cells:
            print("  " + "  ".join(cell.ljust(width) if i < 2 else cell.rjust(width)
                                   for i, (cell, width) in enumerate(zip(row, widths))).rstrip())
        print(flush=True)

    def markdown(self):
        lines = [f"### {self.title}", ""]
        if self.note:
            lines += [self.note, ""]
        lines.append("| " + " | ".join(self.heading) + " |")
        lines.append("|" + "|".join("---" if i < 2 else "---:" for i in range(len(self.heading))) + "|")
        lines += ["| " + " | ".join(f"**{cell}**" if i == 1 and cell.startswith("weir") else cell
                                    for i, cell in enumerate(row)) + " |" for row in self.rows]
        return "\n".join(lines) + "\n"


COSTS = [("per second", "rate", 1), ("processor time, µs", "processor", 1e6), ("calls", "calls", 1),
         ("p50, µs", "p50", 1), ("p99, µs", "p99", 1), ("p99.9, µs", "p999", 1)]
WITH_RATIO = ("rate", "processor")
# What weir is held to. Latencies of a saturated machine say nothing beyond the throughput.
TELLING = ("rate", "processor", "bytes", "instructions")


class CostTable(Table):
    """Rows of what a load cost through each proxy, with the ratios to the yardstick. `columns`: (title, the figure's name,
    factor of its unit)."""

    def __init__(self, title, note="", columns=COSTS, yardstick="relay", telling=TELLING):
        super().__init__(title, note)
        self.columns, self.yardstick, self.telling = columns, yardstick, telling
        self.figures = {}
        self.heading = ["load", "through"]
        for name, key, _ in columns:
            self.heading += [name, f"× {yardstick}"] if key in WITH_RATIO else [name]
        self.losses = []

    def add(self, what, figures):
        print(f"    {what}", file=sys.stderr, flush=True)  # a sign of life
        self.figures[what] = figures
        yardstick = figures.get(self.yardstick)
        for name, found in figures.items():
            row = [what, name]
            for _, key, factor in self.columns:
                value = found.median(key)
                row.append(number(value * factor if value is not None else None))
                if key in WITH_RATIO:
                    row.append(number(found.ratio(key, yardstick) if yardstick else None))
            self.rows.append(row)
        self.note_losses(what, figures)

    def note_absent(self, names):
        """Says which of these are not in the table."""
        seen = {name for figures in self.figures.values() for name in figures}
        absent = [name for name in names if name not in seen]
        if absent and any(not name.startswith(("weir", "direct")) for name in seen):
            self.note += f". Not in this table: {'; '.join(absent)}"

    def note_losses(self, what, figures):
        """Where a peer does better than weir by more than 5 %. The relay and a direct connection are no peers."""
        if "weir" not in figures:
            return
        for name, found in figures.items():
            if name.startswith(("weir", "relay", "direct")):
                continue
            for title, key, _ in self.columns:
                if key not in self.telling:
                    continue
                ratio = figures["weir"].ratio(key, found)
                if ratio and (ratio < 1 / 1.05 if key == "rate" else ratio > 1.05):
                    self.losses.append(f"{self.title}: {what}: {title.split(',')[0]} {number(ratio)} × that of {name}")


def write_markdown(path, bench, tables):
    """Fills the marked section of the file."""
    text = pathlib.Path(path).read_text()
    lines = [BEGIN, "", f"Measured on {bench.date}, weir {bench.version}"
             f"{', with --quick: not to be quoted' if bench.options.quick else ''}. Machine: {bench.machine}.", ""]
    lines += ["| program | version | how it is configured |", "|---|---|---|"]
    lines += [f"| {name} | {version} | {how} |" for name, version, how in bench.described()]
    lines += ["", *(f"**{missing}**\n" for missing in bench.missing)]
    for table in tables:
        lines += [table.markdown()]
    lines += ["## Where weir loses", "", "By more than 5 % against a peer, in the run above:", ""]
    losses = [loss for table in tables for loss in getattr(table, "losses", [])]
    lines += [f"- {loss}" for loss in losses] or ["- nowhere"]
    if bench.failures:
        lines += ["", "What did not work:", "", *(f"- {failure}" for failure in bench.failures)]
    filled = re.sub(f"{re.escape(BEGIN)}.*{re.escape(END)}", lambda _: "\n".join([*lines, "", END]), text, flags=re.S)
    pathlib.Path(path).write_text(filled)
