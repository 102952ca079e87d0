"""The recipe: every setting, its range and its default, each exactly once.

`docs/reference/recipe.md`, the JSON schema for editors and the flags of the command line are made from this file and
from the sections in `data.py` and `training.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from graft.config.data import DataSection, StyleSection, WordsSection, one_source
from graft.config.section import NonNegative, Positive, Section, Share
from graft.config.training import AdapterSection, EngineSection, GrpoSection, StoppingSection, TrainSection


class ModelSection(Section):
    """Which model is trained and scored, and where it runs."""

    id: str = "sprout"
    """`sprout` (the embedded model), a local folder, a hub id such as `Qwen/Qwen3-0.6B`, a URL such as
    `s3://bucket/model`, whose files are copied to a cache (`GRAFT_CACHE`) first, or a file such as `model-q4_k_m.gguf`,
    which is dequantised into it (extra `export`)."""

    revision: str | None = None
    """Branch, tag or commit of a hub model."""

    init: Literal["weights", "random"] = "weights"
    """`weights` loads the weights; `random` builds the architecture of `config.json` with seeded random weights."""

    device: Literal["auto", "cuda", "mps", "cpu"] = "auto"
    """Where it runs; `auto` takes CUDA, then MPS, then the CPU."""

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Type of the weights in memory; `auto` is bfloat16 on CUDA where it is native, float16 on MPS, and float32
    elsewhere, save for models of 1,000 million parameters or more on CPUs that are measured to compute bfloat16 as
    fast."""

    precision: Literal["auto", "float32", "bfloat16", "fp8"] = "auto"
    """Arithmetic of the forward and backward pass; `auto` is bfloat16 where the machine computes it natively, decided
    once in a run. `fp8` multiplies by the frozen weights in 8 bits (CUDA, compute capability 9 or later); adapters stay
    in bfloat16."""

    attention: Literal["auto", "eager", "sdpa"] = "auto"
    """Attention implementation; `auto` is sdpa on CUDA and eager elsewhere (faster for short rows on CPUs)."""

    quantize: Literal["none", "nf4", "int8"] = "none"
    """Store the linear layers in 4 bits (`nf4`, double quantisation) or 8 bits (`int8`); needs the extra `quant`, and
    only adapters can be trained on it."""

    trust_remote_code: bool = False
    """Run the Python code that comes with a model whose architecture transformers does not know. It can do anything
    that you can do on this machine."""

    allow_pickle: bool = False
    """Load pickled weights where there are no safetensors. Loading them can run code of their maker."""

    @model_validator(mode="after")
    def _weights_to_quantize(self) -> ModelSection:
        if self.quantize != "none" and self.init == "random":
            raise ValueError(f"quantize is {self.quantize} and init is random; quantising needs weights, so drop one")
        return self

    system: str | None = None
    """Text of a system turn before every prompt; without it there is none."""

    template: str = "Question: {prompt}\nAnswer:\n"
    """Prompt for models without a chat template; `{prompt}` stands for the question."""

    @model_validator(mode="after")
    def _template_has_a_prompt(self) -> ModelSection:
        if self.template.count("{prompt}") != 1:
            raise ValueError(f"template must hold {{prompt}} exactly once, but got {self.template!r}")
        return self

    backend: Literal["transformers", "openai", "ollama"] = "transformers"
    """What runs the model: `transformers` in this process, or a server, which can be scored but not trained: `openai`
    is any with an OpenAI-compatible API (vLLM, llama.cpp …). The id is then the server's name of the model."""

    url: str | None = None
    """Address of the server, such as `http://127.0.0.1:8000/v1`; for `ollama` this machine's own when unset."""

    tokenizer: str | None = None
    """Folder or hub id of the tokenizer that a server's model uses; without it, results are not broken down by
    tokens."""

    @model_validator(mode="after")
    def _url_fits_backend(self) -> ModelSection:
        if self.backend == "openai" and not self.url:
            raise ValueError("url is missing; backend openai needs it, such as http://127.0.0.1:8000/v1")
        if self.backend == "transformers" and self.url:
            raise ValueError(f"url is {self.url}, but backend transformers asks no server; set backend or leave it out")
        if self.backend == "transformers" and self.tokenizer:
            raise ValueError(
                f"tokenizer is {self.tokenizer}, but backend transformers uses the one of id; leave it out"
            )
        return self


Role = Literal["target", "collateral"]


class EvalSection(Section):
    """What is scored, before and after."""

    tasks: Annotated[
        tuple[str, ...],
        Field(min_length=1),
        BeforeValidator(lambda tasks: tasks, json_schema_input_type=list[str | dict[str, str]]),
    ] = ("spelling", "position", "count")
    """Tasks scored on held-out items; when unset, the trained ones, and with spelling also position and count. An entry
    may say its role too: `{task: glue/sst2, role: collateral}`."""

    roles: dict[str, Role] = Field(default_factory=dict)
    """What a task that is scored and not trained is for: transfer to a `target` may be claimed, of a `collateral` task
    only harm is reported. When unset, targets are word tasks beside a trained word task, and tasks of the same
    collection (`glue/…`) as a trained one."""

    @model_validator(mode="before")
    @classmethod
    def _roles_of_entries(cls, values: Any) -> Any:
        listed = values.get("tasks") if isinstance(values, dict) else None
        if not isinstance(listed, list | tuple) or not any(isinstance(entry, dict) for entry in listed):
            return values
        roles = dict(values.get("roles") or {})
        for entry in listed:
            if isinstance(entry, dict):
                if not {"task"} <= entry.keys() <= {"task", "role"}:
                    raise ValueError(f"tasks: an entry is a name or {{task: name, role: collateral}}, but got {entry}")
                roles |= {entry["task"]: entry["role"]} if "role" in entry else {}
        names = [entry["task"] if isinstance(entry, dict) else entry for entry in listed]
        return {**values, "tasks": names, "roles": roles}

    @model_validator(mode="after")
    def _weak_sandbox_of_code(self) -> EvalSection:
        if self.weak_sandbox and not self.allow_code_execution:
            raise ValueError("weak_sandbox is true, but allow_code_execution is false, so no code is run; leave it out")
        return self

    @model_validator(mode="after")
    def _roles_of_scored_tasks(self) -> EvalSection:
        if unknown := [task for task in self.roles if task not in self.tasks]:
            raise ValueError(f"roles names {', '.join(unknown)}, which tasks does not; score it or drop its role")
        return self

    items: Positive = 2000
    """Items per task."""

    seen_items: NonNegative = 300
    """Items per task about training words, scored beside them and never part of the claim."""

    batch_size: Positive = 256
    """Items per forward pass."""

    labels: Literal["sum", "mean", "prior"] = "sum"
    """How a label's log-likelihood is taken: `sum` over its tokens, `mean` of them, or the sum less that after a prompt
    without content (`prior`). Tasks with a closed set of answers are scored so, beside their free replies."""

    calibration_items: NonNegative = 500
    """Held-out rows that the temperature of label probabilities is fitted on instead of being scored; at most a fifth
    of them where there are too few for both."""

    allow_code_execution: bool = False
    """Run code that the model wrote, shut in by the kernel and judged from outside where its tests allow. It is never
    run else, and is refused where the kernel cannot shut it in."""

    weak_sandbox: bool = False
    """Run that code also where the kernel cannot shut it in, behind what Python can refuse. Every score so made says
    so."""

    thinking_samples: Annotated[int, Field(ge=3)] = 3
    """Replies drawn for every item that is scored with thinking; one alone would be mostly luck."""

    thinking_max_new_tokens: Positive = 2048
    """Longest reply with thinking in tokens, thinking and answer together; what is cut there is counted."""


class SamplingSection(Section):
    """How replies are generated. A preset gives every value that is not set beside it."""

    preset: Literal["greedy", "qwen3-thinking", "qwen3-non-thinking"] = "greedy"
    """`greedy` is the most probable token every time; `qwen3-thinking` is temperature 0.6, top_p 0.95, top_k 20 and
    `qwen3-non-thinking` 0.7, 0.8, 20, as the makers of Qwen3 advise."""

    temperature: Annotated[float, Field(ge=0.0, le=2.0)] | None = None
    """Divides the logits before a token is drawn; 0 is greedy, and then top_p, top_k, min_p and seed have no effect."""

    top_p: Share | None = None
    """Draw only from the most probable tokens that together reach this probability; 1 is off."""

    top_k: NonNegative | None = None
    """Draw only from this many most probable tokens; 0 is off."""

    min_p: Share | None = None
    """Draw only tokens at least this fraction as probable as the most probable one; 0 is off."""

    max_new_tokens: Positive = 48
    """Longest generated reply in tokens."""

    repetition_penalty: Annotated[float, Field(gt=0.0, le=2.0)] = 1.0
    """Makes tokens that the prompt or the reply already holds less probable; 1 is off."""

    seed: NonNegative = 0
    """Seed of the draws; every prompt draws from its own stream, whatever batch it is in."""


class GenerationSection(Section):
    """What may be generated."""

    restrict_to: Literal["english"] | None = None
    """`english` masks every token outside the English part of the vocabulary; the model itself is unchanged."""


class RemoteSection(Section):
    """How a server is asked, for `model.backend` `openai` and `ollama`."""

    api_key_env: str = "GRAFT_API_KEY"
    """Name of the environment variable that holds the API key; the key itself never enters a recipe."""

    timeout_seconds: Annotated[float, Field(gt=0.0)] = 300.0
    """Longest wait for a reply, or for the next piece of a streamed one."""

    retries: NonNegative = 4
    """Further attempts after a busy or failing server (429, 5xx, lost connection), with growing pauses."""

    concurrency: Positive = 8
    """Requests under way at once."""


Arm = Literal["base", "trained", "format", "self", "shuffled", "swapped", "direct", "prompted"]


CONTROLS: tuple[Arm, ...] = ("format", "self")
"""The trained controls on which a claim of transfer may rest."""


class StudySection(Section):
    """The experiment around the training: arms, seeds and the decision rule."""

    arms: Annotated[tuple[Arm, ...], Field(min_length=1)] = ("base", "trained", *CONTROLS)
    """`base` untouched; `trained` on `data.train`; `format` the same prompts, answered at random in
    the trained form; `self` the same prompts, answered by the base itself; `shuffled` another word's letters or another
    row's answer; `swapped` with the first and last control token
    exchanged; `direct` on each target task itself (the ceiling); `prompted` base told to spell first."""

    seeds: Annotated[tuple[NonNegative, ...], Field(min_length=1)] = (0, 1, 2, 3, 4)
    """Training seeds of every trained arm; fewer than 5 are labelled exploratory, and one gives no verdict. Studies
    without base, trained and a control, which claim nothing, have one seed unless told otherwise."""

    outcome: Literal["auto", "constrained", "lenient", "strict"] = "auto"
    """The score that the verdict is about: `constrained` is the likeliest answer of a closed set, where form cannot
    help; `lenient` the answer found in the reply, `strict` the bare answer. `auto` is constrained where the answers of
    a task are closed, else lenient. It is fixed and shown before training."""

    control: Literal["auto", "format", "self"] = "auto"
    """The control that a claim must beat beside the base; `auto` is every one of `format` and `self` among the arms.
    Each alone can be too weak: random answers may wreck a small model, which anything beats, and a model's own replies
    do not teach the form."""

    margin: Annotated[float, Field(gt=0.0, le=50.0)] = 2.0
    """Smallest change that matters, in percentage points: the margin of the equivalence test."""

    alpha: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.05
    """Family-wise error rate over the target tasks."""

    resamples: Annotated[int, Field(ge=1000)] = 10_000
    """Bootstrap resamples of the intervals beside the verdict: label scores, corpora and styles."""

    @property
    def controls(self) -> tuple[Arm, ...]:
        """The trained controls that a claim must beat."""
        return tuple(arm for arm in CONTROLS if arm in self.arms) if self.control == "auto" else (self.control,)

    @property
    def claims(self) -> bool:
        """Whether it has the arms without which no transfer can be claimed."""
        return bool(self.controls) and {"base", "trained", *self.controls} <= set(self.arms)

    @model_validator(mode="after")
    def _no_repeats(self) -> StudySection:
        for key, values in (("arms", self.arms), ("seeds", self.seeds)):
            if len(set(values)) != len(values):
                raise ValueError(f"{key} must not repeat, but got {list(values)}")
        return self


class ReportSection(Section):
    """What the HTML report holds."""

    items: NonNegative = 120
    """Scored items per task that can be browsed, worst first."""


class CheckSection(Section):
    """What the preflight looks for before anything heavy."""

    near_duplicate: Annotated[float, Field(gt=0.0, le=1.0)] = 0.8
    """Two texts are near-duplicates from this similarity on: Jaccard, of their runs of three letters, or of eight in
    texts of 50 words or more. Texts of eight words or more that differ in one word always are."""

    max_leaked: Share = 0.01
    """Largest share of held-out items that may stand in the training rows, exactly or nearly; above it nothing runs."""

    max_dropped: Share = 0.1
    """Largest share of a task's held-out rows that may be longer than `data.max_length` and so go unscored; above it
    nothing runs."""

    price_per_hour: Annotated[float, Field(ge=0.0)] | None = None
    """What an hour of the machine costs, in your currency; the forecast then names a cost."""


class Recipe(Section):
    """One run from data to report."""

    name: str | None = None
    """A label of your own; it replaces the parameters at the end of the run's name."""

    mode: Literal["sft", "pretrain", "grpo"] = "sft"
    """`sft`: supervised fine-tuning, loss on the completion only (on the whole text for corpora); `pretrain`:
    next-token loss on streamed text, with the arms `base` and `trained`; `grpo`: reinforcement learning with the
    task's scorer as the reward."""

    thinking: Literal["off", "on", "compare"] = "off"
    """`off`: no prompt ever lets the model think; `on`: it thinks before it answers, and training rows may carry
    reasoning; `compare`: trained and judged without thinking, and scored with it beside."""

    model: ModelSection = ModelSection()
    data: DataSection = DataSection()
    words: WordsSection = WordsSection()
    adapter: AdapterSection = AdapterSection()
    engine: EngineSection = EngineSection()
    train: TrainSection = TrainSection()
    stopping: StoppingSection = StoppingSection()
    grpo: GrpoSection = GrpoSection()
    style: StyleSection = StyleSection()
    eval: EvalSection = EvalSection()
    sampling: SamplingSection = SamplingSection()
    generation: GenerationSection = GenerationSection()
    remote: RemoteSection = RemoteSection()
    study: StudySection = StudySection()
    check: CheckSection = CheckSection()
    report: ReportSection = ReportSection()

    runs: Path = Path("runs")
    """Folder that holds the run directories."""

    @model_validator(mode="before")
    @classmethod
    def _score_what_is_trained(cls, values: Any) -> Any:
        data, scored = (values.get(key, {}) for key in ("data", "eval")) if isinstance(values, dict) else ((), ())
        if not isinstance(data, dict) or not isinstance(scored, dict) or "train" not in data or "tasks" in scored:
            return values
        try:
            trained = tuple(source["task"] for source in one_source(data["train"]))
        except (TypeError, KeyError):
            return values  # the check of data.train says what is wrong
        extra = ("position", "count") if "spelling" in trained else ()
        return {**values, "eval": {**scored, "tasks": tuple(dict.fromkeys((*trained, *extra)))}}

    @model_validator(mode="before")
    @classmethod
    def _compare_what_the_mode_has(cls, values: Any) -> Any:
        study = values.get("study", {}) if isinstance(values, dict) else None
        if not isinstance(study, dict):
            return values
        arms = {} if values.get("mode") != "pretrain" or "arms" in study else {"arms": ("base", "trained")}
        named = arms.get("arms", study.get("arms"))
        known = {str(arm) for arm in named} if isinstance(named, list | tuple) else {"base", "trained", *CONTROLS}
        claims = {"base", "trained"} <= known and bool(known & set(CONTROLS))
        seeds = {} if claims or "seeds" in study else {"seeds": (0,)}
        return {**values, "study": {**study, **arms, **seeds}} if arms or seeds else values

    @model_validator(mode="after")
    def _only_adapters_beside_fp8(self) -> Recipe:
        if self.model.precision != "fp8":
            return self
        start = "model.precision is fp8, which computes with frozen weights of its own"
        if self.adapter.kind == "none":
            raise ValueError(f"{start}, but adapter.kind is none; set adapter.kind to lora or model.precision to auto")
        if self.adapter.dora:
            raise ValueError(f"{start}, but adapter.dora is true and reads them; set one of the two otherwise")
        if self.model.quantize != "none":
            raise ValueError(f"{start}, but model.quantize is {self.model.quantize}; set one of the two otherwise")
        if self.engine.name != "native":
            raise ValueError(f"{start}, but engine.name is {self.engine.name}; use engine.name: native")
        return self

    @model_validator(mode="after")
    def _only_adapters_on_few_bits(self) -> Recipe:
        if self.model.quantize != "none" and self.adapter.kind == "none":
            raise ValueError(
                f"model.quantize is {self.model.quantize} and adapter.kind is none; weights of few bits cannot be "
                "trained, so set adapter.kind to lora or model.quantize to none"
            )
        return self
