"""The model card: a README.md in the hub's form, of nothing but what the run and the export have measured."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from graft import tasks
from graft.config.schema import Recipe
from graft.models.adapters import portable_name
from graft.pipeline.branches import branch_sources
from graft.report.html import headline
from graft.report.load import ResultRow, RunFiles, load
from graft.report.numbers import percent, percent_with_interval, points_with_interval
from graft.report.tables import metric_of
from graft.runs.space import format_bytes
from graft.stats.intervals import Interval, wilson
from graft.workbench.export.request import FILES_OF_LLAMA_CPP, LICENCES, Request

LIBRARIES = {"merged": "transformers", "adapter": "peft", "gguf": "gguf", "ollama": "gguf"}
RELATIONS = {"merged": "finetune", "adapter": "adapter", "gguf": "quantized", "ollama": "quantized"}


def model_card(request: Request, record: Mapping[str, Any]) -> str:
    """The card of what was exported.

    Args:
        request: what was asked for.
        record: what was written and found.
    """
    files = load(request.run)
    base = portable_name(request.recipe.model.id)
    trained = ", ".join(source.task for source in branch_sources(request.recipe, request.branch))
    title = f"{base.rsplit('/', 1)[-1]}, {request.branch.label}"
    kind = "an adapter for" if request.form == "adapter" else "a fine-tuning of"
    parts = (
        f"---\n{_yaml(_front_matter(request, base))}---\n\n# {title}",
        f"This is {kind} {base}, trained on {trained} with Graft, as `{record['form']}`.",
        _section("Results", _results(request, files)),
        _section("The export", _export(record)),
        _section("Data", _data(request, files)),
        _section("Limits", _limits(request)),
        _section("How to run it", _running(request, record, base)),
        _section("Recipe", ["```yaml", _yaml(_settings(request.recipe)).rstrip(), "```"]),
        _section("Provenance", _provenance(request, files)),
    )
    return "\n\n".join(parts) + "\n"


def _section(title: str, lines: Iterator[str] | Sequence[str]) -> str:
    return f"## {title}\n\n" + "\n".join(lines)


def _front_matter(request: Request, base: str) -> dict[str, Any]:
    found: dict[str, Any] = {"library_name": LIBRARIES[request.form], "pipeline_tag": "text-generation"}
    if base in LICENCES:
        found["license"] = LICENCES[base]
    if base.count("/") == 1:
        found |= {"base_model": base, "base_model_relation": RELATIONS[request.form]}
    return found | {"tags": ["graft", request.form]}


def _results(request: Request, files: RunFiles) -> Iterator[str]:
    """Accuracy on held-out items, with n and intervals, and the run's own conclusion over its arms and seeds."""
    yield f"{headline(files)}\n"
    rows = [row for row in files.results.rows if row.split == "eval" and row.arm == request.branch.arm]
    own = [row for row in rows if row.seed == request.branch.seed]
    if not own:
        yield "This branch was not scored."
        return
    yield "| Task | Held-out items | Base | This model [95% interval] | Measured |\n| --- | --- | --- | --- | --- |"
    for row in own:
        base = next((one for one in files.rows(row.task) if one.arm == "base"), None)
        before = percent(base.score) if base is not None else "–"
        yield f"| {row.task} | {row.n:,} | {before} | {_score(row)} | {metric_of(files, row.task)} |"
    yield "\nThe intervals are of these items alone (Wilson); other seeds of the same training differ."


def _score(row: ResultRow) -> str:
    return percent_with_interval(wilson(row.score * row.n, row.n))


def _export(record: Mapping[str, Any]) -> Iterator[str]:
    for line in (record["summary"], *record["notes"]):
        yield f"- {line}"
    parts = record.get("files") or {record["dtype"]: record}
    scored = {kind: one for kind, one in parts.items() if one.get("scores")}
    if scored:
        yield (
            "\n| Type | Size | Task | n | Measured | Branch | Exported | Change [95% interval] | Same replies |\n"
            "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
        )
    for kind, one in scored.items():
        for task, found in one["scores"]["tasks"].items():
            change = Interval(**found["change"])
            shown = points_with_interval(change.estimate, change) if change.defined else "–"
            before, after, same = (percent(found[name]) for name in ("branch", "exported", "same_replies"))
            yield (
                f"| {kind} | {format_bytes(one['bytes'])} | {task} | {found['n']:,} | {found['measure']} | "
                f"{before} | {after} | {shown} | {same} |"
            )


def _data(request: Request, files: RunFiles) -> Iterator[str]:
    own = {section.name: section for section in request.recipe.data.tasks}
    for source in branch_sources(request.recipe, request.branch):
        if source.task in own:
            given = own[source.task].train
            named = given if isinstance(given, tuple) else () if given is None else (given,)
            shown = ", ".join(path.name for path in named) or "the user's own"
            yield f"- {source.task}: rows of {shown}; their licence is their owner's"
        else:
            card = tasks.card(source.task)
            yield f"- {source.task}: {card.summary} Source: {card.source}. Licence: {card.licence}"
    hashes: Mapping[str, str] = files.provenance.get("data_hashes") or {}
    for name, digest in hashes.items():
        yield f"- sha256 of {name}: `{digest}`"


def _limits(request: Request) -> Iterator[str]:
    thinking = {"off": "without thinking", "on": "thinking first", "compare": "without thinking, and thinking beside"}
    yield f"- Measured {thinking[request.recipe.thinking]}, on the tasks above; nothing is known of any other use."
    yield f"- Prompts and replies together had at most {request.recipe.data.max_length:,} tokens."
    if request.recipe.model.system:
        yield "- Its chat template adds the system turn that it was trained with, unless a conversation has its own."
    if request.recipe.model.id == "sprout":
        yield "- Its base is a toy of 4 million parameters, made to test training, and knows little."


def _running(request: Request, record: Mapping[str, Any], base: str) -> Iterator[str]:
    if request.form in FILES_OF_LLAMA_CPP:
        name = next(iter(record["files"].values()))["file"]
        if request.form == "ollama":
            yield "```sh\nollama create NAME -f Modelfile\nollama run NAME\n```\n"
        yield f"```sh\nllama-cli -m {name} --jinja\nllama-server -m {name} --jinja\n```"
        return
    if request.form == "adapter":
        yield (
            "```python\nfrom peft import PeftModel\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
            f'model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained("{base}"), "FOLDER")\n'
            'tokenizer = AutoTokenizer.from_pretrained("FOLDER")\n```\n'
        )
        rank = request.recipe.adapter.r
        yield f"```sh\nvllm serve {base} --enable-lora --max-lora-rank {max(8, rank)} --lora-modules tuned=FOLDER\n```"
        return
    yield (
        "```python\nfrom transformers import pipeline\n\n"
        'generate = pipeline("text-generation", "FOLDER")\n'
        'print(generate([{"role": "user", "content": "…"}]))\n```\n\n```sh\nvllm serve FOLDER\n```'
    )


def _provenance(request: Request, files: RunFiles) -> Iterator[str]:
    found = files.provenance
    yield f"- Run {request.run.name}, Graft {found.get('graft', 'unknown')}, started {found.get('started', 'unknown')}"
    libraries: Mapping[str, str] = found.get("libraries") or {}
    if libraries:
        named = [f"{name} {libraries[name]}" for name in ("torch", "transformers", "peft") if name in libraries]
        yield f"- {', '.join(named)}"
    for name, digest in (found.get("inputs") or {}).items():
        if name.endswith(".safetensors)"):
            yield f"- sha256 of {Path(name.removesuffix(')')).name} of the base: `{digest}`"


def _settings(recipe: Recipe) -> dict[str, Any]:
    """What a recipe sets otherwise than by default, without places of this machine."""
    changed = _changed(recipe.model_dump(mode="json"), Recipe().model_dump(mode="json"))
    changed.pop("runs", None)
    if recipe.model.id != "sprout":
        changed["model"] = {**changed.get("model", {}), "id": portable_name(recipe.model.id)}
    if "data" in changed:
        changed["data"] = _without_places(changed["data"])
    return changed


def _changed(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    found = {}
    for key, value in values.items():
        default = defaults.get(key)
        if isinstance(value, dict) and isinstance(default, dict) and default:
            inner = _changed(value, default)
            if inner:
                found[key] = inner
        elif value != default:
            found[key] = value
    return found


def _without_places(value: Any) -> Any:
    """Paths by their last name alone."""
    if isinstance(value, dict):
        return {key: _without_places(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_without_places(part) for part in value]
    return Path(value).name if isinstance(value, str) and value.startswith(("/", "~")) else value


def _yaml(values: Mapping[str, Any]) -> str:
    writer, out = YAML(), io.StringIO()
    writer.default_flow_style = False
    writer.dump(dict(values), out)
    return out.getvalue()
