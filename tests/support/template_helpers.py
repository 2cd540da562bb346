"""Chat templates of the kinds that current models ship, written for these tests."""

import json

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers.processors import ByteLevel as Trimming
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

_EACH = "{% for m in messages %}"
_ASK = "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
_TURN = "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
_SYSTEM = "{% set system = '' %}{% set rest = messages %}{% if messages[0].role == 'system' %}"
_SYSTEM += "{% set system = messages[0].content %}{% set rest = messages[1:] %}{% endif %}"

CHATML = _EACH + _TURN + _ASK
# Those that render a conversation of system, user, assistant, user, assistant whole.
WHOLE = {
    "chatml": CHATML,
    "role headers": "{{ bos_token }}{% for m in messages %}<|head|>{{ m.role }}<|/head|>\n\n"
    "{{ m.content | trim }}<|eot|>{% endfor %}"
    "{% if add_generation_prompt %}<|head|>assistant<|/head|>\n\n{% endif %}",
    "system in the first user turn": _SYSTEM
    + "{{ bos_token }}{% for m in rest %}{% if m.role == 'user' %}[INST] "
    "{% if loop.first and system %}<<SYS>>\n{{ system }}\n<</SYS>>\n\n{% endif %}"
    "{{ m.content }} [/INST]{% else %} {{ m.content }} {{ eos_token }}{% endif %}{% endfor %}",
    "system in the last user turn": _SYSTEM
    + "{% set ns = namespace(last=-1) %}{% for m in rest %}{% if m.role == 'user' %}"
    "{% set ns.last = loop.index0 %}{% endif %}{% endfor %}"
    "{% for m in rest %}<|im_start|>{{ m.role }}\n"
    "{% if system and loop.index0 == ns.last %}{{ system }}\n\n{% endif %}"
    "{{ m.content }}<|im_end|>\n" + _ASK,
    "thoughts in the last turn": _EACH + "<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' and loop.last %}<think>\n{{ m.reasoning_content or '' }}\n</think>"
    "\n\n{% endif %}{{ m.content }}<|im_end|>\n" + _ASK,
    "open thoughts in the prompt": _EACH
    + _TURN
    + "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}",
    "thoughts cut off": _EACH + "{% set text = m.content %}"
    "{% if m.role == 'assistant' and '</think>' in text %}"
    "{% set text = text.split('</think>')[-1].lstrip('\n') %}{% endif %}"
    "<|im_start|>{{ m.role }}\n{{ text }}<|im_end|>\n" + _ASK,
    "end of the whole alone": _EACH + "{{ m.role | capitalize }}: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% else %}{{ eos_token }}{% endif %}",
    "end of the conversation is another": _EACH + "<|im_start|>{{ m.role }}<|head|>{{ m.content }}"
    "{% if loop.last and m.role == 'assistant' %}{{ eos_token }}{% else %}<|eot|>{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant{% endif %}",
    "no end of turns": _EACH + "<|{{ m.role }}|>\n{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}",
    "lines of text": _EACH + "### {{ m.role }}:\n{{ m.content }}\n\n{% endfor %}"
    "{% if add_generation_prompt %}### assistant:\n{% endif %}",
    "list of parts": _EACH + "<|im_start|>{{ m.role }}\n{% for part in m.content %}"
    "{% if part.type == 'text' %}{{ part.text }}{% endif %}{% endfor %}<|im_end|>\n" + _ASK,
    "trimmed": _EACH + "<|im_start|>{{ m.role }}\n{{ m.content.strip() }}<|im_end|>\n" + _ASK,
    "dated": "<|im_start|>system\n{{ strftime_now('%d %b %Y %H:%M') }}<|im_end|>\n" + CHATML,
    "default system": "{% if messages[0].role != 'system' %}<|im_start|>system\n"
    "Be kind.<|im_end|>\n{% endif %}" + CHATML,
    "generation marks": _EACH + "<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}"
    "{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}{% else %}{{ m.content }}"
    "<|im_end|>{% endif %}\n" + _ASK,
    "numbered headers": _EACH + "[{{ loop.index }}] {{ m.role }}> {{ m.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}[{{ messages | length + 1 }}] assistant> "
    "{% endif %}",
    "counts the messages": "{{ messages | length }} messages\n" + CHATML,
    "repeats the question": _EACH
    + "{% if m.role == 'user' %}Asked: {{ m.content }}\n{% endif %}"
    + _TURN
    + _ASK,
    "repeats an answer": "{% for m in messages %}{% if m.role == 'assistant' %}Known: "
    "{{ m.content }}\n{% endif %}{% endfor %}" + CHATML,
    "always asks": _EACH + _TURN + "{% endfor %}<|im_start|>assistant\n",
    "never asks": _EACH + _TURN + "{% endfor %}",
    "several ends": _EACH + "<|head|>{{ m.role }}<|/head|>{{ m.content }}<|im_end|><|eot|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|head|>assistant<|/head|>{% endif %}",
}
# Those that lose or change a text, or refuse, by what the reason says.
LOSING = {
    "three roles": (
        "{% for m in messages if m.role in ['user', 'assistant'] %}" + _TURN + _ASK,
        "the chat template drops the system message",
    ),
    "no system": (
        "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}"
        "{% endif %}" + CHATML,
        "the chat template refuses this conversation: System role not supported",
    ),
    "strict order": (
        _EACH + "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('Roles must alternate user/assistant') }}{% endif %}" + _TURN + _ASK,
        "the chat template refuses this conversation: Roles must alternate user/assistant",
    ),
    "prints nothing": ("{{ '' }}", "the chat template drops the system message"),
    "upper case": (
        _EACH + "<|im_start|>{{ m.role }}\n{{ m.content | upper }}<|im_end|>\n" + _ASK,
        "the chat template changes the system message",
    ),
    "cut short": (
        _EACH + "<|im_start|>{{ m.role }}\n{{ m.content[:30] }}<|im_end|>\n" + _ASK,
        "the chat template changes the user message",
    ),
    "no answers": (
        "{% for m in messages if m.role != 'assistant' %}" + _TURN + _ASK,
        "the chat template drops the assistant message",
    ),
    "fails": (
        "{{ messages[0].content + 1 }}",
        "the chat template refuses this conversation: can only concatenate str",
    ),
    "quotes the row": (
        _EACH + "{{ raise_exception('Bad text: ' + m.content) }}{% endfor %}",
        "the chat template refuses this conversation: Bad text: ...",
    ),
}
TOOLS = (
    "{% if tools %}<|im_start|>system\n{% for t in tools %}{{ t | tojson }}\n{% endfor %}"
    "<|im_end|>\n{% endif %}{% if documents %}{% for d in documents %}{{ d.title }}: "
    "{{ d.text }}\n{% endfor %}{% endif %}{% if style is defined %}Style: {{ style }}\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.reasoning_content %}<think>\n{{ m.reasoning_content }}\n</think>\n{% endif %}"
    "{{ m.content }}{% for call in m.tool_calls or [] %}<tool_call>{{ call.function | tojson }}"
    "</tool_call>{% endfor %}<|im_end|>\n" + _ASK
)
_SPECIAL = [
    "<unk>",
    "<s>",
    "</s>",
    "<|im_start|>",
    "<|im_end|>",
    "<|head|>",
    "<|/head|>",
    "<|eot|>",
]
_CORPUS = ["the quick brown fox jumps over the lazy dog", "Who lives in Oslo? Anna does."] * 9


def _finished(backend: Tokenizer) -> PreTrainedTokenizerBase:
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )


def byte_level(trimming: bool = False) -> PreTrainedTokenizerBase:
    """As most current models have it; `trimming`: offsets without the blanks of a token."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=_SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(_CORPUS, trainer)
    if trimming:
        backend.post_processor = Trimming(trim_offsets=True)
    return _finished(backend)


def sentence_piece(legacy: bool = True) -> PreTrainedTokenizerBase:
    """With a blank before the first word, put there by a normalizer (legacy) or a splitter."""
    backend = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=_SPECIAL,
        initial_alphabet=["\u2581"],
        show_progress=False,
    )
    backend.train_from_iterator(_CORPUS, trainer)
    content = json.loads(backend.to_str())
    for value in range(256):  # of the vocabulary, and no special tokens
        content["model"]["vocab"][f"<0x{value:02X}>"] = len(content["model"]["vocab"])
    backend = Tokenizer.from_str(json.dumps(content))
    if legacy:
        backend.pre_tokenizer = None
        backend.normalizer = normalizers.Sequence(
            [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
        )
    else:
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    backend.decoder = decoders.Sequence(
        [
            decoders.Replace(Regex("\u2581"), " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return _finished(backend)


TOKENIZERS = {
    "byte level": byte_level,
    "byte level with trimmed offsets": lambda: byte_level(trimming=True),
    "sentence piece": sentence_piece,
    "metaspace": lambda: sentence_piece(legacy=False),
}
