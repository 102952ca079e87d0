"""What a run writes down of its preparation."""

from __future__ import annotations

import hashlib
import logging
from typing import Any

from graft.config.keys import settings, value_at
from graft.config.loading import Resolved, load_recipe
from graft.config.naming import task_label
from graft.config.schema import Recipe
from graft.config.writing import to_yaml
from graft.errors import ConfigError
from graft.models.hardware import accelerator
from graft.pipeline.places import baselines_path
from graft.pipeline.prepare.boundary import certificate_json
from graft.pipeline.prepare.forecast import detectable
from graft.pipeline.prepare.inputs import hash_data, hash_inputs, require_same_inputs
from graft.pipeline.prepare.integrity import warn_unlisted
from graft.pipeline.prepare.lab import Lab, audit_record
from graft.pipeline.prepare.number_formats import FILE, settle_precision
from graft.pipeline.prepare.preflight import Preflight
from graft.pipeline.prepare.taskbook import labels
from graft.pipeline.progress import Progress
from graft.report.preflight import write_preflight
from graft.runs import provenance
from graft.runs.directory import RunDirectory
from graft.runs.files import write_json, write_text
from graft.runs.markers import Leaves
from graft.runs.redaction import redacted
from graft.runs.samples import write_samples

LOG = logging.getLogger(__name__)


def write_preparation(
    directory: RunDirectory, resolved: Resolved, lab: Lab, looked: Preflight, progress: Progress
) -> None:
    """Store what was found before anything heavy: the recipe, the look at its examples, the audit, the forecast and
    where everything came from.
    """
    plan, inputs = looked.detectable, hash_inputs(lab)
    for task, facts in plan["tasks"].items():
        progress.note(f"{task}: {facts['items']:,} held-out items; smallest detectable change {detectable(facts)}")
    progress.note(f"forecast: {plan['note']}")
    if looked.adapters:
        progress.note(looked.adapters)
    for note in looked.notes:
        progress.note(note)
        LOG.info("%s", note)
    for warning in looked.warnings:
        progress.note(f"warning: {warning}")
        LOG.warning("%s", warning)
    with directory.stage("prepare", _leaves(directory)) as outputs:
        for task, records in looked.baselines.items():
            write_samples(baselines_path(directory, task), records)
        write_json(directory.path / "preflight.json", looked.to_json())
        write_preflight(directory.path / "preflight.html", looked.to_json(), title=directory.name)
        write_text(directory.recipe, to_yaml(resolved))
        write_json(directory.path / "audit.json", audit_record(lab))
        write_json(directory.path / "forecast.json", plan)
        write_json(
            directory.provenance,
            provenance.collect(
                recipe_hash=hashlib.sha256(resolved.recipe.model_dump_json().encode()).hexdigest(),
                seeds=resolved.recipe.study.seeds,
                data_hashes=hash_data(lab),
                inputs=inputs,
                extra={"accelerator": accelerator(), "boundary": certificate_json(looked.boundary)},
            ),
        )
        settle_precision(directory, resolved.recipe)
        outputs["inputs"] = inputs
        write_summary(directory, resolved.recipe, "prepared", {})


def _leaves(run: RunDirectory) -> Leaves:
    names = ("provenance.json", "preflight.json", "preflight.html", "audit.json", "forecast.json", "baselines")
    return Leaves([run.recipe, run.path / FILE, *(run.path / name for name in names)])


def continued(resume: RunDirectory, lab: Lab) -> RunDirectory:
    """Make sure that a run is continued by the recipe and on the files that it was begun with.

    Raises:
        ConfigError: a setting or a file differs; the message names it.
    """
    recipe = lab.recipe
    if not resume.recipe.is_file():
        return resume
    before = load_recipe(resume.recipe).recipe
    free = ("runs", "name")
    differing = [key for key in settings() if key not in free and _stored(before, key) != _stored(recipe, key)]
    if differing:
        raise ConfigError(
            f"cannot continue {resume.name}: {', '.join(differing)} differ from the recipe it was begun with "
            f"({resume.recipe}); restore them or start a new run"
        )
    require_same_inputs(resume, lab)
    warn_unlisted(resume)
    return resume


def _stored(recipe: Recipe, key: str) -> Any:
    """A setting as the copy of a recipe holds it, without the password of a URL."""
    value = value_at(recipe, key)
    return redacted(value) if isinstance(value, str) else value


def write_summary(directory: RunDirectory, recipe: Recipe, headline: str, metrics: dict[str, float]) -> None:
    """What the list of runs tells of this one."""
    write_json(
        directory.summary,
        {
            "model": recipe.model.id,
            "task": task_label(recipe, labels(recipe)),
            "mode": recipe.mode,
            "headline": headline,
            "metrics": metrics,
        },
    )
