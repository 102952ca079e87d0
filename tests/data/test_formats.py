"""Row shapes are recognised by their columns; conversations give one example per answer, with what was said before."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerBase

from graft.data.chat import ChatPolicy, render_chat, writes_calls
from graft.data.formats import recognise, told, turns
from graft.data.tokens import encode, example_turns, word_pieces
from graft.data.user_tasks import TaskSpec, load_user_task
from graft.errors import DataError, ModelError, ThinkingPolicyError
from graft.evals.items import prepare_items
from graft.tasks.dataset import DatasetTask
from graft.types import Example, Message

DATA = os.environ.get("GRAFT_TEST_DATA")

CHAT = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "Two and two?"},
    {"role": "assistant", "content": "<think>\n2+2\n</think>\n\nFour."},
    {"role": "user", "content": "And three more?"},
    {"role": "assistant", "content": "Seven."},
    {"role": "user", "content": "Thanks."},
]


def task(tmp_path: Path, *rows: Any, **spec: Any) -> DatasetTask:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return load_user_task(TaskSpec("mine", train=path, eval=path, **spec))


def examples(found: DatasetTask) -> list[Example]:
    return sorted(found.examples("eval", limit=None, seed=0), key=lambda example: example.id)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (("prompt", "completion"), "prompt and completion: prompt, completion"),
        (("instruction", "output"), "Alpaca: instruction, output"),
        (("instruction", "input", "output", "text"), "Alpaca: instruction, output, input"),
        (("id", "conversations"), "ShareGPT: conversations"),
        (("messages", "source"), "chat messages: messages"),
        (("text",), "plain text: text"),
        (("text", "label", "file"), "plain text: text"),
    ],
)
def test_a_shape_is_recognised_by_its_columns_and_told(columns: tuple[str, ...], words: str) -> None:
    assert told(recognise(columns, {}, "mine"), columns, {}) == words


def test_renamed_columns_count_as_the_wanted_ones() -> None:
    renamed = {"prompt": "question", "completion": "answer"}
    shape = recognise(("question", "answer"), renamed, "mine")
    assert told(shape, ("question", "answer"), renamed) == (
        "prompt and completion: prompt from question, completion from answer"
    )
    assert turns({"question": "Why?", "answer": 42}, shape, renamed)[0].answer == "42"
    assert recognise(("body",), {"text": "body"}, "mine") == "text"


@pytest.mark.parametrize("columns", [("question", "answer"), ("text", "label"), ("instruction",)])
def test_an_unknown_shape_names_the_columns_and_what_would_be_known(columns: tuple[str, ...]) -> None:
    with pytest.raises(DataError, match=rf"task mine: its rows have the columns {', '.join(columns)}, .*Alpaca: "):
        recognise(columns, {}, "mine")


def test_every_shape_becomes_the_same_example(tmp_path: Path) -> None:
    human = [{"from": "human", "value": "Add.\n\n1 2"}, {"from": "gpt", "value": "3"}]
    asked = [{"role": "user", "content": "Add.\n\n1 2"}, {"role": "assistant", "content": "3"}]
    rows = [
        ({"instruction": "Add.", "input": "1 2", "output": "3"}, "Recognised Alpaca: instruction, output, input."),
        ({"prompt": "Add.\n\n1 2", "completion": "3"}, "Recognised prompt and completion: prompt, completion."),
        ({"conversations": human}, "Recognised ShareGPT: conversations."),
        ({"messages": asked}, "Recognised chat messages: messages."),
    ]
    for row, words in rows:
        found = task(tmp_path, row)
        assert found.card.summary == words
        [example] = examples(found)
        assert (example.prompt, example.gold, example.history) == ("Add.\n\n1 2", "3", ())


def test_a_conversation_gives_one_example_per_answer_with_the_turns_before(tmp_path: Path) -> None:
    first, second = examples(task(tmp_path, {"messages": CHAT}))
    system = Message("system", "Be kind.")
    assert (first.prompt, first.gold, first.reasoning, first.history) == ("Two and two?", "Four.", "2+2", (system,))
    assert (second.prompt, second.gold, second.reasoning) == ("And three more?", "Seven.", None)
    assert second.history == (system, Message("user", "Two and two?"), Message("assistant", "Four."))
    assert first.cluster == second.cluster
    assert first.id != second.id


@pytest.mark.parametrize("name", ["messages", "conversations"])
@pytest.mark.parametrize(
    "mark", [{"weight": 0}, {"weight": 0.0}, {"train": False}, {"trainable": False}, {"loss": False}]
)
def test_a_turn_that_is_marked_as_not_to_be_trained_is_history(tmp_path: Path, name: str, mark: dict[str, Any]) -> None:
    marked = [*CHAT[:2], {**CHAT[2], **mark}, CHAT[3], {**CHAT[4], "weight": 1, "train": True}]
    (only,) = examples(task(tmp_path, {name: marked}))
    assert (only.prompt, only.gold) == ("And three more?", "Seven.")
    assert Message("assistant", "Four.") in only.history


def test_a_mark_counts_in_messages_under_prompt_and_completion_too(tmp_path: Path) -> None:
    marked = {"prompt": CHAT[:2], "completion": [{**CHAT[2], "weight": 0}, CHAT[3], CHAT[4]]}
    assert [example.gold for example in examples(task(tmp_path, marked))] == ["Seven."]


def test_the_answers_of_a_conversation_are_trained_one_after_the_other(tmp_path: Path) -> None:
    rows = [{"prompt": [f"a{n}", f"b{n}", f"c{n}"], "completion": ["A", "B", "C"]} for n in range(30)]
    found = list(task(tmp_path, *rows).examples("train", limit=90, seed=0))
    order = [example.cluster for example in found]
    assert [example.gold for example in found] == ["A", "B", "C"] * 30
    assert order[::3] == order[1::3] == order[2::3] and len(set(order)) == 30
    assert order[::3] != sorted(order[::3], key=lambda name: int(name.split("/")[1]))


def test_a_template_that_writes_answers_alike_gives_rows_that_begin_each_other(tmp_path: Path) -> None:
    from graft.models.loading import load_tokenizer

    smol = load_tokenizer("sprout")
    smol.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    first, second = encode(smol, examples(task(tmp_path, {"messages": CHAT[1:]})), max_length=300,
                           policy=ChatPolicy("on"), think=False).rows  # fmt: skip
    whole = first.prompt + first.completion
    assert second.prompt[: len(whole)] == whole


def test_an_opening_greeting_is_history_and_lists_are_the_two_sides_of_a_conversation(tmp_path: Path) -> None:
    greeted = [{"from": "gpt", "value": "Hi!"}, {"from": "human", "value": "Why?"}, {"from": "gpt", "value": "So."}]
    [example] = examples(task(tmp_path, {"conversations": greeted}))
    assert example.history == (Message("assistant", "Hi!"),)
    _, second = examples(task(tmp_path, {"prompt": ["a?", "b?"], "completion": ["A", 2], "system": "S"}))
    assert (second.prompt, second.gold) == ("b?", "2")
    assert [turn.content for turn in second.history] == ["S", "a?", "A"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"prompt": ["a", "b"], "completion": ["A"]},
            "prompt holds 2 entries and completion 1, but every prompt needs",
        ),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "turn 1 is by 'wizard', but a turn is by system, user"),
        ({"messages": [{"role": "user", "content": None}]}, "turn 1 must hold text, but got None"),
        ({"messages": "hello"}, "messages must be a list of turns, but got 'hello'"),
        ({"messages": [CHAT[1], {**CHAT[2], "weight": 0.5}]}, "weight of turn 2 is 0.5, but a turn is either trained"),
        ({"messages": [CHAT[1], {**CHAT[2], "train": False}]}, "every answer is marked as not to be trained"),
        ({"messages": CHAT, "tools": "x"}, "tools must be a list of tools"),
        ({"messages": [CHAT[1], {**CHAT[2], "tool_calls": ["x"]}]}, "turn 2 calls 'x', but a call has the name"),
        ({"messages": CHAT[:2]}, "the conversation has no answer after a user turn"),
        (
            {"conversations": [{"from": "human", "value": "x"}, {"from": "gpt", "value": ""}]},
            "turn 2 is an empty answer",
        ),
        ({"prompt": {"a": 1}, "completion": "x"}, "prompt must hold text, but got {'a': 1}"),
    ],
)
def test_a_row_that_breaks_its_shape_is_named_by_line(tmp_path: Path, row: Any, message: str) -> None:
    good = {name: value for name, value in {"prompt": "p", "completion": "c"}.items() if name in row}
    good = good or ({"messages": CHAT} if "messages" in row else {"conversations": CHAT})
    with pytest.raises(DataError, match=f"rows.jsonl, line 2: {message}"):
        task(tmp_path, good, row)


def test_a_given_format_is_used_whatever_other_columns_there_are(tmp_path: Path) -> None:
    found = task(tmp_path, {"text": "A passage.", "label": "x"}, format="text")
    assert (found.card.kind, found.card.metric, found.card.summary) == ("corpus", "none", "Given as plain text: text.")
    [example] = examples(found)
    assert (example.prompt, example.gold) == (None, "A passage.")


@pytest.fixture(scope="module")
def qwen3() -> PreTrainedTokenizerBase:
    from graft.models.loading import load_tokenizer

    if DATA is None:
        pytest.skip("GRAFT_TEST_DATA names no folder with the tokenizer of Qwen3")
    return load_tokenizer(str(Path(DATA) / "qwen3_tokenizer"))


def test_of_a_conversation_exactly_the_last_answer_is_trained(qwen3: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    """Golden: what Qwen3's own template writes, and what it asks for when it generates."""
    turns_only = [{**turn, "content": turn["content"].rpartition("</think>")[2].strip()} for turn in CHAT[:5]]
    _, second = examples(task(tmp_path, {"messages": CHAT}))
    [row] = encode(qwen3, [second], max_length=500).rows
    asked = qwen3.apply_chat_template(turns_only[:4], tokenize=False, add_generation_prompt=True, enable_thinking=False)
    assert list(row.prompt) == qwen3.encode(asked, add_special_tokens=False)
    assert qwen3.decode(row.completion) == "Seven.<|im_end|>"
    whole = qwen3.apply_chat_template(turns_only, tokenize=False, enable_thinking=False)
    assert qwen3.decode(row.prompt + row.completion) + "\n" == whole
    assert asked.count("<|im_start|>assistant\n") == 2
    assert "2+2" not in asked


def test_reasoning_is_trained_where_the_policy_opens_it(qwen3: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    first, _ = examples(task(tmp_path, {"messages": CHAT}))
    [row] = encode(qwen3, [first], max_length=500, policy=ChatPolicy("on")).rows
    assert qwen3.decode(row.completion) == "<think>\n2+2\n</think>\n\nFour.<|im_end|>"
    with pytest.raises(ThinkingPolicyError, match=r"carries reasoning, but thinking is off"):
        encode(qwen3, [first], max_length=500)


def test_a_rows_own_system_turn_takes_the_place_of_the_recipes(tokenizer: PreTrainedTokenizerBase) -> None:
    own = Example("a", "t", "Why?", "So.", history=(Message("system", "Be kind."),))
    plain = Example("b", "t", "Why?", "So.", cluster="Why")
    policy = ChatPolicy(system="Be brief.")
    first, second = encode(tokenizer, [own, plain], max_length=200, policy=policy).rows
    assert "Be brief." not in tokenizer.decode(first.prompt)
    assert "Be kind." in tokenizer.decode(first.prompt)
    assert "Be brief." in tokenizer.decode(second.prompt)
    assert tokenizer.decode(first.prompt) == render_chat(tokenizer, example_turns(own), policy)
    assert "".join(word_pieces(tokenizer, [plain], policy)[0]) == "Why"


CALL = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Bonn"}'}}
TOOLS = [
    {"role": "developer", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "Weather"}, {"type": "text", "text": " in Bonn?"}]},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c1", "name": "get_weather", "content": "rain"},
    {"role": "assistant", "content": "It rains."},
]


def test_messages_under_prompt_and_completion_are_one_conversation(tmp_path: Path) -> None:
    sides = {"prompt": CHAT[:2], "completion": [{"role": "assistant", "content": "Four."}]}
    [example] = examples(task(tmp_path, sides))
    assert (example.prompt, example.gold) == ("Two and two?", "Four.")
    assert example.history == (Message("system", "Be kind."),)
    [mixed] = examples(task(tmp_path, {**sides, "completion": "Four."}))
    assert (mixed.prompt, mixed.gold, mixed.history) == (example.prompt, example.gold, example.history)


def test_a_call_is_trained_and_a_tools_result_is_answered_and_read(tmp_path: Path) -> None:
    called, answered = examples(task(tmp_path, {"messages": TOOLS}))
    assert (called.asker, called.prompt, called.gold, json.loads(called.calls)) == (
        "user",
        "Weather in Bonn?",
        "",
        [CALL],
    )
    assert (answered.asker, answered.prompt, answered.gold, answered.calls) == ("tool", "rain", "It rains.", "")
    developer, user, call = answered.history
    assert (developer, user) == (Message("developer", "Be brief."), Message("user", "Weather in Bonn?"))
    assert (call.role, call.content, json.loads(call.fields)) == ("assistant", "", {"tool_calls": [CALL]})
    assert json.loads(answered.asked) == {"tool_call_id": "c1", "name": "get_weather"}


WEATHER = {"type": "function", "function": {"name": "get_weather", "description": "The weather.", "parameters": {}}}


def reference(tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, Any]]) -> tuple[str, str]:
    """Prompt and completion of the last turn, straight from the library's own template call."""
    how = {"tools": [WEATHER], "tokenize": False, "enable_thinking": False}
    prompt = tokenizer.apply_chat_template(messages[:-1], add_generation_prompt=True, **how)
    whole = tokenizer.apply_chat_template(messages, **how)
    assert whole.startswith(prompt)
    return prompt, whole[len(prompt) :].removesuffix("\n")


@pytest.mark.parametrize("tools", [[WEATHER], json.dumps([WEATHER])])
def test_calls_are_trained_as_the_real_template_writes_them(
    tmp_path: Path, qwen3: PreTrainedTokenizerBase, tools: Any
) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Weather in Bonn?"},
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "content": "rain", "name": "get_weather", "tool_call_id": "c1"},
        {"role": "assistant", "content": "It rains."},
    ]
    read = [{**turn, "tool_calls": [PARSED]} if "tool_calls" in turn else turn for turn in messages]
    called, answered = examples(task(tmp_path, {"messages": messages, "tools": tools}))
    for example, upto in ((called, 3), (answered, 5)):
        prompt, completion = reference(qwen3, read[:upto])
        [row] = encode(qwen3, [example], max_length=500).rows
        assert list(row.prompt) == qwen3.encode(prompt, add_special_tokens=False)
        assert list(row.prompt + row.completion) == qwen3.encode(prompt + completion, add_special_tokens=False)
        assert '"name": "get_weather"' in prompt
    assert '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Bonn"}}\n</tool_call>' in completion_of(
        qwen3, called
    )
    items = prepare_items(
        qwen3, task(tmp_path, {"messages": messages, "tools": tools}), "eval", [called], max_length=500
    )
    assert items.examples[0].gold == completion_of(qwen3, called).removesuffix("<|im_end|>")


PARSED = {**CALL, "function": {"name": "get_weather", "arguments": {"city": "Bonn"}}}


def completion_of(tokenizer: PreTrainedTokenizerBase, example: Example) -> str:
    [row] = encode(tokenizer, [example], max_length=500).rows
    return str(tokenizer.decode(row.completion))


def test_a_call_and_its_reasoning_are_trained_where_the_policy_opens_it(
    tmp_path: Path, qwen3: PreTrainedTokenizerBase
) -> None:
    thought = {**TOOLS[2], "reasoning_content": "Ask the tool."}
    row = {"messages": [TOOLS[1], thought, TOOLS[3], {**TOOLS[4], "reasoning_content": "Rain it is."}]}
    called, answered = examples(task(tmp_path, row))
    assert (called.reasoning, answered.reasoning) == ("Ask the tool.", "Rain it is.")
    [first] = encode(qwen3, [called], max_length=500, policy=ChatPolicy("on")).rows
    assert qwen3.decode(first.completion).startswith("<think>\nAsk the tool.\n</think>\n\n<tool_call>\n")
    [second] = encode(qwen3, [answered], max_length=500, policy=ChatPolicy("on")).rows
    assert "<think>\nAsk the tool.\n</think>" in qwen3.decode(second.prompt)  # as the model will see its own
    with pytest.raises(ThinkingPolicyError, match=r"carries reasoning, but thinking is off"):
        encode(qwen3, [answered], max_length=500)


@pytest.mark.parametrize(
    "row",
    [
        {
            "conversations": [
                {"from": "Human", "value": "Weather in Bonn?"},
                {"from": "function_call", "value": json.dumps(PARSED["function"])},
                {"from": "OBSERVATION", "value": "rain"},
                {"from": "GPT", "value": "It rains."},
            ],
            "system": "Be brief.",
            "tools": json.dumps([WEATHER]),
        },
        {
            "messages": json.dumps(
                [
                    {"role": "SYSTEM", "content": "Be brief."},
                    {"role": "user", "content": "Weather in Bonn?"},
                    {"role": "assistant", "content": None, "function_call": PARSED["function"]},
                    {"role": "function", "name": "get_weather", "content": "rain"},
                    {"role": "assistant", "content": [{"type": "text", "text": "It rains."}]},
                ]
            ),
            "tools": [WEATHER],
        },
    ],
)
def test_every_way_of_writing_a_conversation_with_tools_is_the_same(tmp_path: Path, row: Any) -> None:
    called, answered = examples(task(tmp_path, row))
    assert [turn.role for turn in called.history] == ["tools", "system"]
    assert json.loads(called.calls)[0]["function"] == PARSED["function"]
    assert (answered.prompt, answered.gold) == ("rain", "It rains.")


def test_a_template_that_writes_no_tools_is_one_clear_error(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenizer, "chat_template", "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}")
    called, answered = examples(task(tmp_path, {"messages": TOOLS}))
    with pytest.raises(ModelError, match=r"writes no calls of tools, so nothing of them could be trained"):
        encode(tokenizer, [called], max_length=200)
    [row] = encode(tokenizer, [answered], max_length=200).rows
    assert "rain" in tokenizer.decode(row.prompt)
    assert not writes_calls(tokenizer)
    history = task(tmp_path, {"messages": TOOLS}, trains_calls=False)
    assert [example.gold for example in examples(history)] == ["It rains."]
    assert "1 eval answers call tools, which the model's chat template does not write; they are left out" in (
        history.card.notes
    )
    [offered] = examples(task(tmp_path, {"messages": TOOLS[1:2] + TOOLS[4:], "tools": [WEATHER]}))
    with pytest.raises(ModelError, match=r"writes no tools \(it leaves out get_weather\)"):
        encode(tokenizer, [offered], max_length=200)


def test_a_server_is_sent_tools_and_calls() -> None:
    from graft.models.backends.remote import as_sent

    called = Message("assistant", "", json.dumps({"tool_calls": [PARSED]}))
    sent = as_sent((Message("tools", "", json.dumps({"tools": [WEATHER]})), called), as_text=True)
    assert sent["tools"] == [WEATHER]
    assert sent["messages"][0]["tool_calls"][0]["function"]["arguments"] == '{"city": "Bonn"}'
    assert as_sent((Message("user", "Hi"),), as_text=False) == {"messages": [{"role": "user", "content": "Hi"}]}


CHOSEN = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]
REJECTED = [CHOSEN[0], {"role": "assistant", "content": "No."}]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Why?", "chosen": "So.", "rejected": "No."},
        {"prompt": "Why?", "chosen": CHOSEN, "rejected": REJECTED},
        {"prompt": CHOSEN[:1], "chosen": CHOSEN[1:], "rejected": REJECTED[1:]},
        {"chosen": CHOSEN, "rejected": REJECTED},
        {"prompt": "Why?", "chosen": json.dumps(CHOSEN), "rejected": json.dumps(REJECTED)},
    ],
)
def test_of_preferences_the_chosen_answer_is_trained_and_that_is_said(tmp_path: Path, row: Any) -> None:
    found = task(tmp_path, row)
    assert "preferences, of which the chosen answer is trained" in found.card.summary
    [example] = examples(found)
    assert (example.prompt, example.gold) == ("Why?", "So.")
    [code] = examples(task(tmp_path, {"prompt": "Why?", "chosen": "[1, 2]", "rejected": "[]"}))
    assert code.gold == "[1, 2]"


def test_an_answer_that_was_judged_bad_is_left_out_and_counted(tmp_path: Path) -> None:
    rows = [{"prompt": f"q{n}", "completion": "a", "label": n % 2 == 0, "id": n} for n in range(6)]
    found = task(tmp_path, *rows)
    assert sorted(example.prompt for example in examples(found)) == ["q0", "q2", "q4"]
    assert "3 of 6 eval rows say that they are not to be trained" in found.card.notes
    assert "columns that are not used: id" in found.card.notes
    marked = task(tmp_path, {"messages": CHAT, "weight": 0}, {"messages": CHAT, "weight": 1})
    assert len(examples(marked)) == 2
    other = task(tmp_path, {"prompt": "a", "completion": "b", "weight": 73.5, "label": 0})
    assert other.card.notes == ("columns that are not used: weight, label",) and len(examples(other)) == 1
    judged = task(tmp_path, {"messages": CHAT, "label": True}, {"messages": CHAT, "label": False})
    assert len(examples(judged)) == 2


def test_fields_and_columns_that_play_no_part_are_listed_once(tmp_path: Path) -> None:
    turn = {**CHAT[2], "score": 3, "reasoning_content": None}
    found = task(tmp_path, {"messages": [CHAT[1], turn], "source": "x"}, {"messages": [CHAT[1], turn], "source": "y"})
    assert found.card.notes == ("columns that are not used: source", "fields of turns that are not used: score")


def test_the_history_of_an_alpaca_row_is_its_earlier_turns(tmp_path: Path) -> None:
    row = {"instruction": "And c?", "output": "C", "history": [["a?", "A"], ["b?", "B"]]}
    found = examples(task(tmp_path, row))
    assert [example.gold for example in found] == ["A", "B", "C"]
    assert [turn.content for turn in found[2].history] == ["a?", "A", "b?", "B"]


def test_all_bad_rows_are_counted_and_the_first_five_shown(tmp_path: Path) -> None:
    rows = [{"prompt": f"q{n}", "completion": "" if n % 2 else "a"} for n in range(16)]
    with pytest.raises(
        DataError, match=r"line 2: the answer is empty.*\(8 of 16 rows cannot be used; .*line 10: "
    ) as told:
        task(tmp_path, *rows)
    assert "line 12" not in str(told.value)


def test_a_part_that_is_no_text_is_refused(tmp_path: Path) -> None:
    picture = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}, TOOLS[-1]]
    with pytest.raises(DataError, match=r"turn 1 has a part that is no text: {'type': 'image_url'"):
        examples(task(tmp_path, {"messages": picture}))
