"""Write a page of docs/results from a finished run: its tables as Markdown, strata left out, and its figures.

Run in the root of the repository: python scripts/results.py RUN NAME RECIPE
"""

from __future__ import annotations

import shutil
import sys
from datetime import timedelta
from pathlib import Path

from graft.report import asides, form, measures, tables
from graft.report.load import RunFiles, load
from graft.report.tables import Table

FOLDER = Path("docs/results")


def main(run: Path, name: str, recipe: str) -> None:
    files = load(run)
    (FOLDER / name).mkdir(parents=True, exist_ok=True)
    parts = [f"# {name}", _facts(files, recipe), f"**{files.study.headline}**" if files.study else ""]
    parts += [_section(table) for table in _tables(files) if table is not None]
    parts += [_figures(run, name, kind, title) for kind, title in (("change", "Changes"), ("accuracy", "Scores"))]
    (FOLDER / f"{name}.md").write_text("\n\n".join(filter(None, parts)) + "\n", encoding="utf-8")


def _facts(files: RunFiles, recipe: str) -> str:
    """Command, machine and versions."""
    known = files.provenance
    machine, libraries = known["hardware"], known["libraries"]
    took = timedelta(seconds=round(float(files.state.get("seconds") or 0)))
    where = f"{machine['cpu']}, {machine['cores_usable']} cores, accelerator {machine['accelerator'] or 'none'}"
    versions = ", ".join(f"{library} {libraries[library]}" for library in ("torch", "transformers", "peft"))
    return "\n".join(
        (
            f"- Command: `graft run {recipe}`",
            f"- {known['started'][:10]}, Graft {known['graft']}, commit {known['git']['commit'][:9]}, {versions}",
            f"- Machine: {where}" + (f"; hours {took}" if took else ""),
        )
    )


def _tables(files: RunFiles) -> tuple[Table | None, ...]:
    return (
        tables.main_table(files),
        tables.arms_table(files),
        tables.decision_table(files),
        form.form_table(files),
        form.collateral_table(files),
        tables.corpora_table(files) if files.results.corpora.rows else None,
        asides.learned_table(files),
        asides.leaks_table(files),
        measures.seeds_table(files),
        asides.links_table(files),
    )


def _section(table: Table) -> str:
    """A table as Markdown, its caption before and its footnotes after."""
    head = f"| {' | '.join(table.columns)} |\n|{'---|' * len(table.columns)}"
    rows = "\n".join("| " + " | ".join(cell.text.replace("|", "\\|") for cell in row) + " |" for row in table.rows)
    notes = "".join(f"\n\n– {note}." for note in table.footnotes)
    return f"## {table.caption}\n\n{head}\n{rows}{notes}"


def _figures(run: Path, name: str, kind: str, title: str) -> str:
    shown = sorted((run / "figures").glob(f"{kind}-*.svg"))
    for path in shown:
        shutil.copy(path, FOLDER / name / path.name)
    pictures = "\n\n".join(f"![{title} of {path.stem.partition('-')[2]}]({name}/{path.name})" for path in shown)
    return f"## {title}\n\n{pictures}" if shown else ""


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
