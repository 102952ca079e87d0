"""Write docs/architectures.md: how toy models of each architecture are trained, written with and adapted, as measured.

Run in the root of the repository: PYTHONPATH=. python scripts/architectures.py
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tests.models.families import COMMON, OTHERS, toy_of
from tests.models.test_families import PLAN, some_rows

from graft.errors import GraftError
from graft.models.adapters import add_lora
from graft.models.forward import Reading, reading_of
from graft.models.selftest import habits_of
from graft.models.targets import carriers
from graft.models.tokenizer import quiet_libraries
from graft.train.engine import choose_layout
from graft.train.self_check import check_engine

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PAGE = Path("docs/architectures.md")

HEAD = """# Architectures

Toy models with random weights, two layers each, in float32 on a CPU. `scripts/architectures.py` writes this page; the
tests of `tests/models/test_families.py` hold each architecture against its own code: the gradient row by row, replies
against `generate`, an adapter against PEFT alone.

- rows: *packed* end to end, *padded* in a batch, or read *one by one*;
- head: the output *layer* alone, or the model's *own* way from hidden states to logits;
- error: the larger of the relative errors of loss and gradient against the model's own forward pass;
- replies: prompts that can be written together (*any* length, *equal* length, *none*), and whether finished rows leave;
- adapters: the layers that `adapter.targets: all-linear` reaches.

| architecture | rows | head | error | replies | adapters |
|---|---|---|---|---|---|
"""


def main() -> None:
    quiet_libraries()
    lines = [line_of(name) for name in sorted((*COMMON, *OTHERS))]
    PAGE.write_text(HEAD + "\n".join(lines) + "\n", encoding="utf-8")


def line_of(name: str) -> str:
    """The architecture's line of the table."""
    model, rows = toy_of(name), some_rows(7)
    try:
        layout, facts = check_engine(model, rows, PLAN, choose_layout(model, rows, PLAN, pad_id=0))
        way, error = reading_of(model), facts["checked"].removeprefix("relative error ")
        laid = "one by one" if way is Reading.WHOLE else {"seq2seq": "padded"}.get(layout.kind, layout.kind)
        head = "layer" if way is Reading.LAYER else "own"
    except GraftError as refused:
        laid, head, error = "refused", "–", str(refused).split(",")[0]
    habits = habits_of(model)
    replies = f"{habits.together}{'' if habits.leaves else ', stay'}{'' if habits.cached else ', no cache'}"
    return f"| {name} | {laid} | {head} | {error} | {replies} | {adapted(model)} |"


def adapted(model: PreTrainedModel) -> str:
    """The names of the layers that get an adapter."""
    try:
        reached = carriers(add_lora(model, r=2, alpha=4, dropout=0.0, targets="all-linear", seed=0))
    except GraftError as refused:
        return f"refused: {refused}"
    names = {".".join([part for part in path.split(".") if not part.isdigit()][-2:]) for path in reached}
    return ", ".join(sorted({name.removesuffix(".weight").rsplit(".", 1)[-1] for name in names}))


if __name__ == "__main__":
    main()
