"""What is to be exported, with everything that can be checked before a model is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graft.config.loading import load_recipe
from graft.config.schema import Recipe
from graft.data.chat import ChatPolicy
from graft.errors import ConfigError, RunError, choices
from graft.export.gguf.quantize import FILES, check_name
from graft.export.gguf.write import require_gguf
from graft.export.ollama import require_ollama
from graft.models.loading import load_model
from graft.models.source import stored_dtype
from graft.pipeline.branches import Branch, branches
from graft.pipeline.places import final_folder
from graft.pipeline.prepare.boundary import run_date
from graft.pipeline.prepare.lab import chat_policy, recipe_limits, recipe_tokenizer
from graft.runs.directory import RunDirectory
from graft.runs.files import is_committed
from graft.runs.space import require_space

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

FILES_OF_LLAMA_CPP = ("gguf", "ollama")
LICENCES = {"sprout": "apache-2.0"}
"""Of bases that state theirs here; that of another base is for whoever publishes the model to look up."""

DEFAULT_QUANTIZE = "f16"


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be exported.

    Attributes:
        run: the run.
        recipe: its recipe.
        branch: the trained branch.
        form: a name of `graft.workbench.export.forms.FORMS`.
        tokenizer: the branch's tokenizer.
        policy: how its prompts were rendered.
        dtype: type of merged weights, as torch names it.
        mixtures: types of the GGUF files; empty for other forms.
        create: name of the model in Ollama; ``None`` where it is not given to it.
        out: where to.
    """

    run: RunDirectory
    recipe: Recipe
    branch: Branch
    form: str
    tokenizer: PreTrainedTokenizerBase
    policy: ChatPolicy
    dtype: str
    mixtures: tuple[str, ...]
    create: str | None
    out: Path

    @property
    def whole(self) -> Recipe:
        """The recipe with the base in full precision: nothing is merged into few bits."""
        return with_model(self.recipe, quantize="none", precision="auto")

    @property
    def reduced(self) -> bool:
        """Whether the branch computed with weights of fewer bits than those that are exported."""
        return self.recipe.model.quantize != "none" or self.recipe.model.precision == "fp8"

    @property
    def types(self) -> str:
        """The types of the weights, for names of files."""
        return "-".join(self.mixtures) or self.dtype

    @property
    def final(self) -> Path:
        """The trained files of the branch."""
        return final_folder(self.run, self.branch)

    @property
    def stored_dtype(self) -> str:
        """Type of the base's own files, or of the trained ones where every weight was trained."""
        place = str(self.final) if self.recipe.adapter.kind == "none" else self.recipe.model.id
        return stored_dtype(place, self.recipe.model.revision)

    def load(self, folder: Path) -> PreTrainedModel:
        """A written model, as the run loads its own."""
        section = self.recipe.model
        return load_model(
            str(folder),
            device=section.device,
            dtype=section.dtype,
            attention=section.attention,
            trust_remote_code=section.trust_remote_code,
        )

    def notes(self) -> list[str]:
        """What was measured of the branch and cannot leave with it."""
        subset = self.recipe.generation.restrict_to
        if subset is None:
            return []
        return [
            f"the run's replies were restricted to {subset} tokens (generation.restrict_to); what is exported is not"
        ]


def check_request(
    run: RunDirectory,
    form: str,
    *,
    arm: str | None,
    dtype: str | None,
    quantize: Sequence[str],
    create: str | None,
    out: Path,
    force: bool,
) -> Request:
    """Check a request; see `graft.workbench.export.command.export` for the arguments.

    Raises:
        ConfigError: the branch is not trained, or a flag has no effect or cannot be taken.
        MissingExtra: a package is missing.
        RunError: the branch was not trained to its end.
        StorageError: there is no room.
    """
    recipe = load_recipe(run.recipe).recipe
    branch = trained_branch(recipe, arm)
    _check_flags(form, dtype, quantize, create)
    mixtures = tuple(map(check_name, quantize or (DEFAULT_QUANTIZE,))) if form in FILES_OF_LLAMA_CPP else ()
    _check_out(run, out, force)
    if not is_committed(final_folder(run, branch)):
        raise RunError(f"{run.name} holds no trained {branch.label}; train it first: graft run --resume {run.name}")
    tokenizer, limits = recipe_tokenizer(recipe), recipe_limits(recipe)
    policy = chat_policy(recipe, tokenizer, limits, date=run_date(run))
    found = Request(run, recipe, branch, form, tokenizer, policy, "float32", mixtures, create, out)
    if form == "merged":
        found = replace(found, dtype=dtype or found.stored_dtype)
    _check_space(found)
    return found


def _check_flags(form: str, dtype: str | None, quantize: Sequence[str], create: str | None) -> None:
    if dtype is not None and form == "adapter":
        raise ConfigError(f"--dtype is {dtype}, but an adapter stays in float32 as it was trained; leave it out")
    if dtype is not None and form in FILES_OF_LLAMA_CPP:
        raise ConfigError(f"--dtype is {dtype}, but --quantize says the types of a GGUF; leave it out")
    if quantize and form not in FILES_OF_LLAMA_CPP:
        raise ConfigError(
            f"--quantize is {','.join(quantize)}, but only --to gguf and ollama have such types; leave it out"
        )
    if form == "ollama" and len(quantize) > 1:
        raise ConfigError(f"--quantize is {','.join(quantize)}, but a model of Ollama is one file; name one type")
    if create is not None and form != "ollama":
        raise ConfigError(f"--create is {create}, but only --to ollama makes a model for Ollama; leave it out")
    if form in FILES_OF_LLAMA_CPP:
        require_gguf()
    if create is not None:
        require_ollama()


def trained_branch(recipe: Recipe, arm: str | None) -> Branch:
    """The branch of that label, or the first trained one.

    Raises:
        ConfigError: there is none, or it was not trained.
    """
    known = {branch.label: branch for branch in branches(recipe)}
    trained = {label: branch for label, branch in known.items() if branch.seed is not None}
    if not trained:
        raise ConfigError("the run trains nothing, so there is nothing to export; its model is the one of its recipe")
    if arm is None:
        return next((branch for branch in trained.values() if branch.arm == "trained"), next(iter(trained.values())))
    if arm in known and arm not in trained:
        raise ConfigError(
            f"--arm is {arm}, the untouched model, which is there already as {recipe.model.id}; only trained arms are "
            f"exported. {choices(arm, trained)}"
        )
    if arm not in trained:
        raise ConfigError(f"--arm is {arm!r}, but the run has no such arm. {choices(arm, trained)}")
    return trained[arm]


def _check_out(run: RunDirectory, out: Path, force: bool) -> None:
    inside = out.resolve()
    if inside == run.path.resolve() or run.path.resolve() in inside.parents:
        raise ConfigError(f"--out is {out}, inside the run {run.name}; a run holds its own files only, so name another")
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out is {out}, a file; name a folder")
    if out.is_dir() and any(out.iterdir()) and not force:
        raise ConfigError(f"--out is {out}, which is not empty; name another folder, or replace it with --force")


def _check_space(request: Request) -> None:
    """Room for the files; a GGUF is made of a float32 model that lies beside it for a while."""
    from graft.models.facts import STORED_BYTES, model_facts

    model = request.recipe.model
    facts = model_facts(model.id, revision=model.revision, trust_remote_code=model.trust_remote_code)
    size = STORED_BYTES[request.dtype] + sum(FILES[mixture].bits for mixture in request.mixtures) / 8
    what = f"the model in {', '.join((request.dtype, *request.mixtures))}"
    require_space(request.out, round(facts.parameters * size), what)


def with_model(recipe: Recipe, **changes: Any) -> Recipe:
    """The recipe with other settings of its model."""
    return recipe.model_copy(update={"model": recipe.model.model_copy(update=changes)})
