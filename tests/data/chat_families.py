"""Small tokenizers that begin texts, end answers and render chats as those of known families do."""

from __future__ import annotations

from functools import cache

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

PHI = """{% for m in messages %}{{'<|' + m['role'] + '|>
' + m['content'] + '<|end|>
'}}{% endfor %}{% if add_generation_prompt %}{{'<|assistant|>
'}}{% endif %}"""

GEMMA = """{{ bos_token }}{% for m in messages %}{% set role = m['role'] | replace('assistant', 'model') %}{{
'<start_of_turn>' + role + '\\n' + m['content'] | trim + '<end_of_turn>\\n' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"""

LLAMA3 = """{% for m in messages %}{% set c = '<|start_header_id|>' + m['role'] + '<|end_header_id|>\\n\\n'
+ m['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set c = bos_token + c %}{% endif %}{{ c }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"""

LLAMA31 = (
    """{{ bos_token }}{% if strftime_now is defined %}{% set day = strftime_now('%d %b %Y') %}{% else %}"""
    """{% set day = '26 Jul 2024' %}{% endif %}<|start_header_id|>system<|end_header_id|>\n\nToday Date: {{ day }}"""
    """<|eot_id|>""" + LLAMA3.replace("bos_token + c", "c")
)

CHATML = """{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""

LLAMA2 = """{% for m in messages %}{% if m['role'] == 'user' %}{{ bos_token + '[INST] ' + m['content'] + ' [/INST]' }}
{%- elif m['role'] == 'assistant' %}{{ ' ' + m['content'] + ' ' + eos_token }}{% endif %}{% endfor %}"""

GLM = """[gMASK]<sop>{% for m in messages %}<|{{ m['role'] }}|>
{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}<|assistant|>
{% endif %}"""

TEMPLATES = {
    "phi3": (PHI, ("<|endoftext|>", "<|user|>", "<|assistant|>", "<|end|>", "<|system|>"), "<|endoftext|>", None),
    "gemma": (GEMMA, ("<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>"), "<eos>", "<bos>"),
    "llama3": (LLAMA3, ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>",
                        "<|eot_id|>"), "<|end_of_text|>", "<|begin_of_text|>"),
    "llama3.1": (LLAMA31, ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>",
                           "<|eot_id|>"), "<|end_of_text|>", "<|begin_of_text|>"),
    "llama3-base": (None, ("<|begin_of_text|>", "<|end_of_text|>"), "<|end_of_text|>", "<|begin_of_text|>"),
    "qwen-base": (CHATML, ("<|endoftext|>", "<|im_start|>", "<|im_end|>"), "<|endoftext|>", None),
    "llama2": (LLAMA2, ("<s>", "</s>"), "</s>", "<s>"),
    "glm": (GLM, ("<|endoftext|>", "[gMASK]", "<sop>", "<|user|>", "<|assistant|>", "<|observation|>"),
            "<|endoftext|>", None),
}  # fmt: skip
"""By family: chat template, special tokens, the end of text, and the beginning that the tokenizer adds."""


@cache
def family(name: str) -> PreTrainedTokenizerBase:
    """A tokenizer of single bytes with the special tokens and the template of a family."""
    template, specials, eos, bos = TEMPLATES[name]
    built = Tokenizer(
        models.BPE(
            vocab={letter: index for index, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, merges=[]
        )
    )
    built.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    built.decoder = decoders.ByteLevel()
    built.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in specials])
    if bos is not None:
        built.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, built.token_to_id(bos))]
        )
    made = PreTrainedTokenizerFast(tokenizer_object=built, eos_token=eos, bos_token=bos, pad_token=eos)
    made.chat_template = template
    return made


@cache
def t5() -> PreTrainedTokenizerBase:
    """As T5's: a word mark, an end after every text, and no braces."""
    pieces = ["<pad>", "</s>", "<unk>", "▁", *"abcdefghijklmnopqrstuvwxyzQA:?,.<>/", "▁elk", "▁is", "▁the"]
    built = Tokenizer(models.Unigram([(piece, -float(len(piece) < 3) * 3) for piece in pieces], unk_id=2))
    built.normalizer = normalizers.Replace(Regex(r"\s+"), " ")
    built.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    built.decoder = decoders.Metaspace()
    built.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in pieces[:3]])
    built.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=built, eos_token="</s>", pad_token="<pad>", unk_token="<unk>")
