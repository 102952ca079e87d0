"""The number formats that `auto` stands for, decided once in a run: a machine's speed is measured anew each time."""

from __future__ import annotations

from graft.config.schema import Recipe
from graft.pipeline.prepare.facts import recipe_facts
from graft.pipeline.prepare.served import is_remote
from graft.runs.directory import RunDirectory
from graft.runs.files import read_json, write_json

FILE = "precision.json"


def settle_precision(run: RunDirectory, recipe: Recipe) -> None:
    """Decide the formats of a run that has not done so, for all of its branches and for whoever resumes it."""
    from graft.models.devices import computes_bfloat16, pick_device, pick_dtype

    model, place = recipe.model, run.path / FILE
    if place.is_file() or is_remote(recipe):
        return
    device = pick_device(model.device)
    counts = model.dtype == "auto" and device.type == "cpu"  # only there the size decides
    dtype = pick_dtype(model.dtype, device, recipe_facts(recipe)[0].parameters if counts else 0)
    precision = model.precision
    if precision == "auto":
        precision = "bfloat16" if computes_bfloat16(device) else "float32"
    write_json(place, {"dtype": str(dtype).removeprefix("torch."), "precision": precision, "device": device.type})


def settled(run: RunDirectory, recipe: Recipe) -> Recipe:
    """The recipe with the formats that were decided in the run; as it is where none were."""
    place = run.path / FILE
    if not place.is_file():
        return recipe
    formats = {name: value for name, value in read_json(place).items() if name in ("dtype", "precision")}
    return recipe.model_copy(update={"model": recipe.model.model_copy(update=formats)})
