from __future__ import annotations

import json
import logging
import os
import random
import resource
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.conftest import toy_model

from graft.errors import RunError, StorageError
from graft.models.adapters import add_lora
from graft.runs import interrupts
from graft.runs.interrupts import Terminated
from graft.runs.manifest import MARKER
from graft.train import checkpoints
from graft.train.engine import fit
from graft.train.plan import Hooks, Measurement, Plan, Stopping
from graft.types import TokenRow

PAD = 4090
PLAN = Plan(
    steps=8, batch_size=4, token_budget=64, learning_rate=1e-2, optimizer="adamw", schedule="linear", warmup_steps=1,
    weight_decay=0.0, max_grad_norm=1.0, bfloat16=False, seed=0, logging_steps=2, save_steps=2, keep_last=2,
)  # fmt: skip


def some_rows(count: int = 32) -> list[TokenRow]:
    rng = random.Random(0)
    return [
        TokenRow(tuple(rng.randrange(4000) for _ in range(6)), (*(rng.randrange(4000) for _ in range(4)), 4093))
        for _ in range(count)
    ]


def adapted(seed: int = 0, r: int = 4, architecture: str = "qwen3") -> torch.nn.Module:
    model = toy_model(architecture, seed)
    return add_lora(model, r=r, alpha=8, dropout=0.1, targets="all-linear", seed=0)


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def steps_in(folder: Path) -> list[int]:
    return sorted(map(checkpoints.step_of, checkpoints.list_checkpoints(folder)))


class CutError(Exception):
    """Stands for a process that ends between two steps."""


def cut_at(step: int) -> Callable[[int], None]:
    def on_step(done: int) -> None:
        if done == step:
            raise CutError

    return on_step


@pytest.fixture(scope="module")
def half_done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints 4 and 6 of a training of eight steps that was cut in the seventh."""
    folder = tmp_path_factory.mktemp("half")
    with pytest.raises(CutError):
        fit(adapted(), some_rows(), PLAN, pad_id=PAD, folder=folder, hooks=Hooks(on_step=cut_at(7)))
    return folder


@pytest.fixture
def copy(half_done: Path, tmp_path: Path) -> Path:
    shutil.copytree(half_done, tmp_path / "copy")
    return tmp_path / "copy"


def resumed(folder: Path) -> tuple[torch.nn.Module, list[int]]:
    model, steps = adapted(), []
    fit(model, some_rows(), PLAN, pad_id=PAD, folder=folder, hooks=Hooks(on_step=steps.append))
    return model, steps


def test_a_checkpoint_holds_everything_a_training_needs_to_go_on(copy: Path) -> None:
    assert steps_in(copy) == [4, 6]
    newest = copy / "checkpoint-6"
    names = {path.name for path in newest.iterdir()}
    wanted = {
        "trained.safetensors",
        "optimizer.pt",
        "scheduler.pt",
        "rng_state.pth",
        "trainer_state.json",
        "graft.json",
    }
    assert names == wanted | {MARKER}
    record = json.loads((newest / "graft.json").read_text())
    assert (record["schema"], record["step"], record["rows_read"]) == (1, 6, 24)
    assert record["model"] == {
        "architecture": "Qwen3ForCausalLM",
        "vocabulary": 4096,
        "hidden_size": 32,
        "layers": 2,
        "trained_parameters": sum(p.numel() for p in adapted().parameters() if p.requires_grad),
    }
    states = torch.load(newest / "rng_state.pth", weights_only=False)
    assert {"python", "numpy", "cpu"} <= states.keys()


def test_no_file_names_a_device(copy: Path) -> None:
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        found: list[str] = []

        def note(storage: torch.UntypedStorage, place: str, found: list[str] = found) -> torch.UntypedStorage:
            found.append(place)
            return storage

        torch.load(copy / "checkpoint-6" / name, map_location=note, weights_only=False)
        assert set(found) <= {"cpu"}
    assert not list(copy.glob("*/training_args.bin"))  # transformers would pickle paths and devices there


@pytest.mark.parametrize("seed", range(6))
def test_a_training_killed_anywhere_ends_in_the_same_bits_when_continued(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    plan = replace(PLAN, save_steps=rng.choice([1, 2, 3]), keep_last=rng.choice([1, 3]))
    uninterrupted, continued = adapted(), adapted()
    fit(uninterrupted, some_rows(), plan, pad_id=PAD, folder=tmp_path / "whole")
    for _ in range(2):
        with pytest.raises(CutError):
            fit(
                adapted(),
                some_rows(),
                plan,
                pad_id=PAD,
                folder=tmp_path / "cut",
                hooks=Hooks(on_step=cut_at(rng.randint(5, 8))),
            )
            raise CutError  # a later start may be past the step already
    torch.manual_seed(seed + 99)  # nothing of this process may matter
    random.seed(seed)
    np.random.seed(seed)
    fit(continued, some_rows(), plan, pad_id=PAD, folder=tmp_path / "cut")
    assert same(uninterrupted, continued)


def flip(path: Path, place: float = 0.5) -> None:
    """Flip one bit of a file, as far into it as a share says."""
    data = bytearray(path.read_bytes())
    data[int(place * (len(data) - 1))] ^= 1
    path.write_bytes(data)


def rewrite(path: Path, change: Callable[[Any], Any]) -> None:
    """Write a file of torch anew with another content."""
    torch.save(change(torch.load(path, weights_only=False)), path)


def other_keys(path: Path) -> None:
    rewrite(path, lambda state: {f"x{name}": value for name, value in state.items()})


def of_another_step(checkpoint: Path, name: str) -> None:
    shutil.copy(checkpoint.with_name("checkpoint-4") / name, checkpoint / name)


def edited(checkpoint: Path, name: str, **values: object) -> None:
    path = checkpoint / name
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def without_manifest(checkpoint: Path) -> None:
    """As it was written before there were hashes; the sizes of its files stand in its record."""
    (checkpoint / MARKER).write_bytes(b"")
    files = [path for path in checkpoint.iterdir() if path.name not in (MARKER, "graft.json")]
    edited(checkpoint, "graft.json", files={path.name: path.stat().st_size for path in files})


ANOTHER = "is not what was written"
DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no marker": (lambda path: (path / MARKER).unlink(), "was not written to its end"),
    "truncated weights": (
        lambda path: os.truncate(path / "trained.safetensors", 100),
        "trained.safetensors has 100 bytes",
    ),
    "truncated optimizer": (lambda path: os.truncate(path / "optimizer.pt", 10), "optimizer.pt has 10 bytes"),
    "no scheduler": (lambda path: (path / "scheduler.pt").unlink(), "scheduler.pt is missing"),
    "a bit of the weights": (lambda path: flip(path / "trained.safetensors", 0.9), f"trained.safetensors {ANOTHER}"),
    "a bit of the header": (lambda path: flip(path / "trained.safetensors", 0.01), f"trained.safetensors {ANOTHER}"),
    "a bit of the optimizer": (lambda path: flip(path / "optimizer.pt"), f"optimizer.pt {ANOTHER}"),
    "a bit of the streams": (lambda path: flip(path / "rng_state.pth"), f"rng_state.pth {ANOTHER}"),
    "a bit of the manifest": (lambda path: flip(path / MARKER), "is damaged"),
    "no manifest in the marker": (lambda path: (path / MARKER).write_text("{}"), "does not hold the hashes"),
    "weights of another step": (
        lambda path: of_another_step(path, "trained.safetensors"),
        f"trained.safetensors {ANOTHER}",
    ),
    "optimizer of another step": (lambda path: of_another_step(path, "optimizer.pt"), f"optimizer.pt {ANOTHER}"),
    "an edited step": (lambda path: edited(path, "graft.json", step=5), "graft.json has"),
    "record no JSON": (lambda path: (path / "graft.json").write_text("{"), "graft.json is damaged"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_newest_checkpoint_is_passed_over_with_a_warning(copy: Path, damage: str) -> None:
    spoil, told = DAMAGE[damage]
    spoil(copy / "checkpoint-6")
    sound, (warning,) = checkpoints.newest_sound(copy)
    assert sound == copy / "checkpoint-4"
    assert told in warning and "going on from checkpoint-4 instead" in warning


UNHASHED: dict[str, tuple[Callable[[Path], object], str]] = {
    "zeros for weights": (
        lambda path: (path / "trained.safetensors").write_bytes(b"\0" * (path / "trained.safetensors").stat().st_size),
        "trained.safetensors cannot be read",
    ),
    "a damaged header": (lambda path: flip(path / "trained.safetensors", 0.0), "trained.safetensors cannot be read"),
    "optimizer no archive": (
        lambda path: (path / "optimizer.pt").write_bytes(b"x" * 99),
        "optimizer.pt cannot be read",
    ),
    "optimizer of other keys": (lambda path: other_keys(path / "optimizer.pt"), "it lacks param_groups, state"),
    "scheduler of other keys": (lambda path: other_keys(path / "scheduler.pt"), "it lacks last_epoch"),
    "streams of other keys": (lambda path: other_keys(path / "rng_state.pth"), "it lacks cpu, numpy, python"),
    "streams that are a list": (lambda path: rewrite(path / "rng_state.pth", list), "it lacks cpu, numpy, python"),
    "scheduler that runs code": (lambda path: rewrite(path / "scheduler.pt", lambda _: Path), "scheduler.pt cannot be"),
    "state no object": (lambda path: (path / "trainer_state.json").write_text("[]"), "it is of step None"),
    "state of another step": (lambda path: of_another_step(path, "trainer_state.json"), "it is of step 4"),
    "an edited step": (lambda path: edited(path, "graft.json", step=5), "says that it is of step 5"),
    "record empty": (lambda path: (path / "graft.json").write_text("[]"), "graft.json must list the files"),
    "record without patience": (lambda path: (path / "graft.json").write_text('{"files": {}}'), "lacks loss, model"),
}


@pytest.mark.parametrize("damage", UNHASHED)
def test_a_checkpoint_without_hashes_is_looked_into(copy: Path, damage: str) -> None:
    spoil, told = UNHASHED[damage]
    record = damage.startswith("record")
    if not record:
        spoil(copy / "checkpoint-6")
    without_manifest(copy / "checkpoint-6")
    if record:
        spoil(copy / "checkpoint-6")
    sound, (warning,) = checkpoints.newest_sound(copy)
    assert sound == copy / "checkpoint-4" and told in warning, warning


def test_a_checkpoint_without_hashes_is_gone_on_from(copy: Path) -> None:
    without_manifest(copy / "checkpoint-6")
    assert checkpoints.newest_sound(copy) == (copy / "checkpoint-6", [])


def test_a_copy_under_the_name_of_a_later_step_is_no_checkpoint(copy: Path) -> None:
    shutil.copytree(copy / "checkpoint-4", copy / "checkpoint-999")
    sound, (warning,) = checkpoints.newest_sound(copy)
    assert sound == copy / "checkpoint-6" and "says that it is of step 4" in warning


def test_training_goes_on_from_the_newest_sound_checkpoint_to_the_same_bits(
    copy: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    flip(copy / "checkpoint-6" / "trained.safetensors", 0.9)
    with caplog.at_level(logging.WARNING):
        model, steps = resumed(copy)
    assert steps == [5, 6, 7, 8]
    assert steps_in(copy) == [6, 8]  # the damaged one was made anew
    (warning,) = [record.getMessage() for record in caplog.records if "checkpoint-6" in record.getMessage()]
    assert ANOTHER in warning
    uninterrupted, _ = resumed(tmp_path / "whole")
    assert same(model, uninterrupted)


def test_without_any_sound_checkpoint_the_training_begins_anew(copy: Path, caplog: pytest.LogCaptureFixture) -> None:
    for path in checkpoints.list_checkpoints(copy):
        (path / "optimizer.pt").unlink()
    with caplog.at_level(logging.WARNING):
        _, steps = resumed(copy)
    assert steps == list(range(1, 9))
    assert "begins anew" in caplog.text


def test_a_damaged_checkpoint_never_pushes_a_sound_one_out(copy: Path) -> None:
    os.truncate(copy / "checkpoint-6" / "optimizer.pt", 10)
    model = adapted()
    with pytest.raises(CutError):
        plan = replace(PLAN, save_steps=5, keep_last=1)
        fit(model, some_rows(), plan, pad_id=PAD, folder=copy, hooks=Hooks(on_step=cut_at(6)))
    assert checkpoints.newest_sound(copy)[0] == copy / "checkpoint-5"


def with_vocabulary(size: int) -> torch.nn.Module:
    model = toy_model()
    model.resize_token_embeddings(size)
    return add_lora(model, r=4, alpha=8, dropout=0.1, targets="all-linear", seed=0)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: with_vocabulary(4100), "vocabulary size is 4,096, but this model's is 4,100"),
        (
            lambda: adapted(architecture="llama"),
            "architecture is Qwen3ForCausalLM, but this model's is LlamaForCausalLM",
        ),
        (lambda: adapted(r=8), "number of trained parameters is"),
    ],
)
def test_a_checkpoint_of_another_model_says_what_differs(
    copy: Path, build: Callable[[], torch.nn.Module], message: str
) -> None:
    with pytest.raises(RunError, match="checkpoint-6 belongs to another model") as caught:
        fit(build(), some_rows(), PLAN, pad_id=PAD, folder=copy)
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert steps_in(copy) == [4, 6]


def test_a_checkpoint_of_a_newer_schema_is_refused(copy: Path) -> None:
    record = json.loads((copy / "checkpoint-6" / "graft.json").read_text())
    (copy / "checkpoint-6" / "graft.json").write_text(json.dumps(record | {"schema": 2, "files": {"new": 1}}))
    with pytest.raises(RunError, match=r"checkpoint-6 has schema version 2, but this version of Graft reads up to 1"):
        resumed(copy)


def test_minutes_save_too(tmp_path: Path) -> None:
    plan = replace(PLAN, steps=3, save_steps=None, save_minutes=1e-9, keep_last=9)
    fit(toy_model(), some_rows(12), plan, pad_id=PAD, folder=tmp_path)
    assert steps_in(tmp_path) == [1, 2, 3]
    plan = replace(plan, save_minutes=60.0)
    fit(toy_model(), some_rows(12), plan, pad_id=PAD, folder=tmp_path / "long")
    assert steps_in(tmp_path / "long") == [3]


def test_the_best_checkpoint_is_never_pruned(tmp_path: Path) -> None:
    losses = iter([3.0, 1.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0])
    plan = replace(PLAN, save_steps=1, keep_last=1, eval_steps=1, stopping=Stopping(keep_best=True))
    held: list[list[int]] = []

    def on_step(_: int) -> None:
        held.append(steps_in(tmp_path))

    fit(
        toy_model(),
        some_rows(),
        plan,
        pad_id=PAD,
        folder=tmp_path,
        hooks=Hooks(on_step=on_step, evaluate=lambda model: {"loss": next(losses)}),
    )
    assert held == [[], [1], [2], [2, 3], [2, 4], [2, 5], [2, 6], [2, 7]]
    assert steps_in(tmp_path) == [2, 8]


@pytest.mark.parametrize(("number", "error"), [(signal.SIGTERM, Terminated), (signal.SIGINT, KeyboardInterrupt)])
def test_a_signal_saves_at_the_next_step_boundary_and_leaves(
    tmp_path: Path, number: signal.Signals, error: type[BaseException]
) -> None:
    def on_step(done: int) -> None:
        if done == 3:
            os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    plan = replace(PLAN, save_steps=None)
    with pytest.raises(error):
        fit(adapted(), some_rows(), plan, pad_id=PAD, folder=tmp_path, hooks=Hooks(on_step=on_step))
    assert steps_in(tmp_path) == [3]
    assert signal.getsignal(number) is before
    continued, uninterrupted, steps = adapted(), adapted(), []
    fit(continued, some_rows(), plan, pad_id=PAD, folder=tmp_path, hooks=Hooks(on_step=steps.append))
    fit(uninterrupted, some_rows(), plan, pad_id=PAD, folder=tmp_path / "whole")
    assert steps == [4, 5, 6, 7, 8]
    assert same(continued, uninterrupted)


def test_a_second_wish_ends_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupts, "SAME_WISH_SECONDS", 0.0)

    def on_step(done: int) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        fit(
            toy_model(),
            some_rows(),
            replace(PLAN, save_steps=None),
            pad_id=PAD,
            folder=tmp_path,
            hooks=Hooks(on_step=on_step),
        )
    assert steps_in(tmp_path) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("mounting a small file system needs rights that this user does not have")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_disk_too_small_for_the_checkpoints_is_refused_with_numbers(small_disk: Path) -> None:
    steps: list[int] = []
    with pytest.raises(StorageError, match=r"3 checkpoints of 1\.9 MB .* needs 6\.\d MB, but 1\.0 MB are free"):
        fit(toy_model(), some_rows(), PLAN, pad_id=PAD, folder=small_disk, hooks=Hooks(on_step=steps.append))
    assert steps == []


def test_a_disk_that_fills_up_stops_at_a_step_boundary_with_the_last_checkpoint_intact(small_disk: Path) -> None:
    def fill(done: int) -> None:
        if done == 5:
            with (small_disk / "filler").open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
                while True:
                    file.write(b"\0" * 4096)

    with pytest.raises(StorageError, match="stopped after step 6; checkpoint-4 is whole") as caught:
        fit(adapted(), some_rows(), PLAN, pad_id=PAD, folder=small_disk, hooks=Hooks(on_step=fill))
    assert "\n" not in str(caught.value)
    assert [path.name for path in small_disk.iterdir() if path.name.startswith(".")] == []
    (small_disk / "filler").unlink()
    model, steps = resumed(small_disk)
    uninterrupted, _ = resumed(small_disk.parent / "whole")
    assert steps == [5, 6, 7, 8]
    assert same(model, uninterrupted)


def test_a_limit_on_the_size_of_files_is_told_as_a_lack_of_space(tmp_path: Path) -> None:
    def limit(done: int) -> None:
        if done == 3:
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with pytest.raises(StorageError, match=r"disk is full or a quota is reached.*checkpoint-2 is whole"):
            fit(adapted(), some_rows(), PLAN, pad_id=PAD, folder=tmp_path, hooks=Hooks(on_step=limit))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert checkpoints.newest_sound(tmp_path)[0] == tmp_path / "checkpoint-2"


def test_what_was_set_aside_goes_when_the_training_is_complete(copy: Path) -> None:
    moved = checkpoints.set_aside(copy, after=4)
    assert [path.name for path in moved] == ["set-aside-checkpoint-6"]
    _, steps = resumed(copy)
    assert steps == [5, 6, 7, 8]
    checkpoints.remove_unfinished(copy)
    assert list(copy.iterdir()) == []


def test_a_measurement_leaves_no_trace_in_the_training(tmp_path: Path) -> None:
    def evaluate(model: torch.nn.Module) -> Measurement:
        assert not any(module.training for module in model.modules())
        random.random()
        np.random.rand()
        torch.rand(3)
        return {"loss": 1.0}

    plain, measured = adapted(), adapted()
    fit(plain, some_rows(), PLAN, pad_id=PAD, folder=tmp_path / "plain")
    plan = replace(PLAN, eval_steps=3)
    result = fit(measured, some_rows(), plan, pad_id=PAD, folder=tmp_path / "measured", hooks=Hooks(evaluate=evaluate))
    assert same(plain, measured)
    assert [figures["step"] for figures in result.measurements] == [3, 6, 8]
