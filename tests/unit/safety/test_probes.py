"""The probing set: the built-in one, and what is refused of one that somebody wrote."""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from gradgate.errors import ConfigError
from gradgate.safety.probes import ProbeSet


@pytest.fixture(scope="module")
def built_in() -> ProbeSet:
    return ProbeSet.read(None)


def content() -> dict[str, Any]:
    text = files("gradgate.safety").joinpath("probes.json").read_text(encoding="utf-8")
    return json.loads(text)


def written(folder: Path, value: object) -> str:
    path = folder / "my probes.json"
    path.write_text(json.dumps(value), encoding="utf-8")
    return str(path)


def test_the_built_in_set_has_enough_of_each_kind(built_in: ProbeSet) -> None:
    assert len(built_in.harmful) == len(built_in.benign) == 30
    assert len(built_in.refusal_openings) >= 4
    assert len(built_in.compliant_openings) >= 6
    assert len(built_in.canaries) == len(built_in.refusals) == 24
    assert len(built_in.look_alikes) == 12
    apologies = [one for one in built_in.refusals if one.reply.startswith("I'm sorry")]
    assert len(apologies) <= 6  # an honest refusal is more than an apology


def test_a_set_of_the_same_texts_has_the_same_fingerprint(
    built_in: ProbeSet, tmp_path: Path
) -> None:
    other = dict(reversed(content().items()))
    assert ProbeSet.read(written(tmp_path, other)).fingerprint == built_in.fingerprint


@pytest.mark.parametrize("name", list(ProbeSet.model_fields))
def test_each_list_decides_the_fingerprint(built_in: ProbeSet, tmp_path: Path, name: str) -> None:
    other = content()
    other[name] = other[name][:-1] if name != "refusal_openings" else other[name][1:]
    assert ProbeSet.read(written(tmp_path, other)).fingerprint != built_in.fingerprint


def changed(name: str, position: int, text: str) -> dict[str, Any]:
    """The built-in set with another text; of an exchange, with another reply."""
    made = content()
    if isinstance(made[name][position], dict):
        made[name][position]["reply"] = text
    else:
        made[name][position] = text
    return made


def without(name: str, keep: int) -> dict[str, Any]:
    return {**content(), name: content()[name][:keep]}


BAD: dict[str, tuple[object, str]] = {
    "too few prompts": (without("harmful", 9), "harmful: .*at least 10"),
    "too few refusals": (without("refusal_openings", 3), "refusal_openings: .*at least 4"),
    "too few compliant": (without("compliant_openings", 5), "compliant_openings: .*at least 6"),
    "too few canaries": (without("canaries", 0), "canaries: .*at least 10"),
    "too many": ({**content(), "benign": [f"Prompt {i}?" for i in range(1_001)]}, "at most 1000"),
    "missing": ({k: v for k, v in content().items() if k != "benign"}, "benign is missing"),
    "unknown": ({**content(), "harmfull": []}, "harmfull is unknown; the known ones"),
    "a list": ([1, 2], "the configuration: "),
    "a number": (changed("harmful", 0, 7), "harmful.0: .*string"),  # type: ignore[arg-type]
    "empty": (changed("harmful", 3, " \u200b\n"), "harmful.3: a text is empty"),
    "punctuation": (changed("benign", 3, "?!"), "benign.3: a text is empty"),
    "an empty reply": (changed("canaries", 3, ""), "canaries.3.reply: a text is empty"),
    "control": (changed("harmful", 3, "Do \x1b[31m it"), r"'Do \\x1b\[31m it' holds a control"),
    "half a character": (changed("harmful", 3, "Do \ud800"), r"harmful.3: .*unicode"),
    "too long": (changed("harmful", 3, "a" * 2_001), "at most 2000 characters"),
    "twice": (changed("harmful", 1, content()["harmful"][0].upper() + "!"), "twice in harmful"),
    "harmful and benign": (changed("benign", 1, content()["harmful"][0]), "stands twice in"),
    "a canary among the probes": (
        {**content(), "harmful": [*content()["harmful"], content()["canaries"][0]["prompt"]]},
        "stands twice in",
    ),
    "the same first word": (changed("compliant_openings", 1, "Sure: take"), "'Sure:' stands twice"),
    "a refusal among compliance": (
        changed("compliant_openings", 1, "I cannot help with that."),
        "refuses and stands among replies that comply",
    ),
    "compliance among refusals": (
        changed("refusal_openings", 1, "Gladly, here it is"),
        "stands among refusals and is not recognised as one; begin it with",
    ),
    "a canary that refuses": (changed("canaries", 1, "I won't do that."), "refuses and stands"),
    "a refusal that answers": (changed("refusals", 1, "You take a key."), "is not recognised"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_set_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    value, message = BAD[name]
    with pytest.raises(ConfigError, match=message) as caught:
        ProbeSet.read(written(tmp_path, value))
    assert "my probes.json" in str(caught.value)
    assert str(caught.value).isprintable()


FILES = {
    "no JSON": (b"harmful: []", "Expecting value"),
    "a key twice": (b'{"harmful": [], "harmful": []}', "a key is given twice"),
    "no UTF-8": (b'{"harmful": "\xff"}', "decode byte 0xff"),
    "nested": (b"[" * 200_000, "recursion"),
    "endless": (b" " * 5_000_000, "more than 4194304 bytes"),
    "empty": (b"", "Expecting value"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_cannot_be_read_is_a_configuration_error(tmp_path: Path, name: str) -> None:
    raw, message = FILES[name]
    path = tmp_path / "probes.json"
    path.write_bytes(raw)
    with pytest.raises(ConfigError, match=message):
        ProbeSet.read(str(path))


def test_a_missing_file_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        ProbeSet.read(str(tmp_path / "gone.json"))
    with pytest.raises(ConfigError, match="directory"):
        ProbeSet.read(str(tmp_path))
