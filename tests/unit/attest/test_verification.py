"""What is verified, and in what words anything else is refused."""

import gzip
import json
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pytest
from attest_helpers import Attested, Row, gate_config, in_days, stranger, write_attested

import gradgate
from gradgate.attest import run_rows
from gradgate.attest.envelope import read_envelope
from gradgate.attest.errors import NotVerifiedError
from gradgate.attest.issuing import run_attested_gate
from gradgate.common.run_folder import RunFolder
from gradgate.errors import ConfigError, DataError, ModelError
from gradgate.gate.accounts import accepted_file
from gradgate.signing.keys import make_key
from helpers import MODEL, write_jsonl


def refused(attested: Attested, data: Any = None, **options: Any) -> list[str]:
    """Why it is."""
    given = {"key": attested.key, "attestation": attested.attestation, **options}
    with pytest.raises(NotVerifiedError) as caught:
        gradgate.verify(given.pop("attestation"), attested.data if data is None else data, **given)
    refusals = caught.value.refusals
    assert all("\n" not in one for one in refusals)
    return refusals


def test_the_very_file(attested: Attested) -> None:
    found = gradgate.verify(attested.attestation, attested.data, key=attested.key, model=MODEL)
    assert (found.covered, found.unread) == ("file", [])
    assert found.key == attested.signer.public_key.keyid
    assert found.digest == read_envelope(attested.attestation).digest


def test_the_same_rows_in_any_format(attested: Attested, tmp_path: Path) -> None:
    rows = attested.rows
    frame = pd.DataFrame(rows)
    frame.to_parquet(tmp_path / "rows.parquet")
    frame.to_csv(tmp_path / "rows.csv", index=False)
    (tmp_path / "rows.json").write_text(json.dumps(rows, indent=2))
    with gzip.open(tmp_path / "rows.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    plain = [{"completion": row["completion"], "prompt": row["prompt"]} for row in rows]
    write_jsonl(tmp_path / "plain.jsonl", plain)
    dataset = datasets.Dataset.from_list(rows)
    dataset.save_to_disk(str(tmp_path / "saved"))
    found = [path for path in tmp_path.iterdir()]
    assert len(found) == 6
    for data in (*found, rows, dataset, iter(rows)):
        assert gradgate.verify(attested.attestation, data, key=attested.key).covered == "rows"


def test_columns_that_nobody_judged_are_named(attested: Attested) -> None:
    rows = [{**row, "id": "another"} for row in attested.rows]
    found = gradgate.verify(attested.attestation, rows, key=attested.key)
    assert found.unread == ["id"]


def changed(rows: list[Row]) -> dict[str, list[Row]]:
    first, second, *others = rows
    longer = {**first, "completion": f"{first['completion']} "}
    return {
        "are not the accepted ones": [longer, second, *others],
        "not in their order": [second, first, *others],
        "the data have 47 rows, and 48 were accepted": rows[:-1],
        "more than the 48 accepted rows": [*rows, first],
        "are not the accepted ones, or": [first, first, *others],
        "row 47 of the data cannot be read: a str": [*rows[:-1], "text"],  # type: ignore[list-item]
        "row 0 of the data is no sample: missing column: completion": [{"prompt": "a"}, *rows[1:]],
        "row 0 of the data has a column messages": [{**first, "messages": []}, second, *others],
        "row 1 of the data has a column ????": [first, {**second, "\n\0\t\r": 1}, *others],
        "the data have 0 rows": [],
    }


def test_other_rows(attested: Attested) -> None:
    for text, rows in changed(attested.rows).items():
        (refusal,) = refused(attested, rows)
        assert text in refusal


def test_a_damaged_file(attested: Attested, tmp_path: Path) -> None:
    content = attested.data.read_bytes()
    path = tmp_path / "rows.jsonl"
    for text, damaged in {
        "cannot be read to their end": content[:-20],
        "has no rows": b"",
        "cannot be read: malformed JSON": content.replace(b"}", b"", 1),
    }.items():
        path.write_bytes(damaged)
        (refusal,) = refused(attested, path)
        assert text in refusal
    with pytest.raises(DataError, match="no such file"):
        gradgate.verify(attested.attestation, tmp_path / "nothing", key=attested.key)
    with pytest.raises(DataError, match="cannot be read"):
        gradgate.verify(tmp_path / "nothing", attested.data, key=attested.key)


def test_replay_for_another_dataset(attested: Attested, tmp_path: Path) -> None:
    rows = [{"prompt": f"{i} + 1 = ", "completion": f"{i + 1}", "id": "x"} for i in range(48)]
    other = write_attested(tmp_path, rows)
    assert "are not the accepted ones" in refused(other, attested.data)[0]
    assert "are not the accepted ones" in refused(attested, other.data)[0]


@pytest.mark.parametrize("decision", ["fail", "review", "error"])
def test_another_decision(attested: Attested, tmp_path: Path, decision: str) -> None:
    path = attested.sealed_with(tmp_path / "a.json", {"decision": decision}, attested.signer)
    assert f"the verdict is {decision}, and only a pass" in refused(attested, attestation=path)[0]
    nothing = {"accepted": None}
    path = attested.sealed_with(tmp_path / "a.json", nothing, attested.signer)
    assert refused(attested, attestation=path) == ["no row was accepted"]


def test_time(attested: Attested, tmp_path: Path) -> None:
    for text, changes in {
        "it expired at": {"expires": in_days(-1e-5), "issued": in_days(-1)},
        "yet to come": {"issued": in_days(1)},
    }.items():
        path = attested.sealed_with(tmp_path / "a.json", changes, attested.signer)
        assert text in refused(attested, attestation=path)[0]
    path = attested.sealed_with(tmp_path / "a.json", {"expires": in_days(1)}, attested.signer)
    assert gradgate.verify(path, attested.data, key=attested.key).covered == "file"


def test_keys(attested: Attested, tmp_path: Path) -> None:
    make_key(tmp_path / "other")
    other = tmp_path / "other.pub"
    assert "is signed by" in refused(attested, key=other)[0]
    both = tmp_path / "both.pub"
    both.write_text(other.read_text() + attested.key.read_text())
    assert gradgate.verify(attested.attestation, attested.data, key=both).covered == "file"
    forged = attested.sealed_with(tmp_path / "f.json", {}, stranger())
    assert "is signed by" in refused(attested, attestation=forged)[0]
    # Signed by the gate's key, and says that another one has: two keys could be confused.
    odd = attested.sealed_with(
        tmp_path / "f.json", {"key": "0" * 64}, attested.signer, keeps_key=True
    )
    assert "another key than it says" in refused(attested, attestation=odd)[0]
    with pytest.raises(ConfigError, match="name the gate's public key"):
        gradgate.verify(attested.attestation, attested.data, allow_unsigned=True)


def test_signatures_that_are_not_of_the_content(attested: Attested, tmp_path: Path) -> None:
    content = json.loads(attested.attestation.read_bytes())
    forged = attested.sealed_with(tmp_path / "f.json", {"reasons": ["good"]}, attested.signer)
    mixed = {**json.loads(forged.read_bytes()), "signatures": content["signatures"]}
    forged.write_text(json.dumps(mixed))
    assert "is not that of this content" in refused(attested, attestation=forged)[0]


def test_unsigned(attested: Attested, tmp_path: Path) -> None:
    path = attested.sealed_with(tmp_path / "a.json", {}, None)
    assert "unsigned, and a key is asked for" in refused(attested, attestation=path)[0]
    assert "anybody may have written it" in refused(attested, attestation=path, key=None)[0]
    found = gradgate.verify(path, attested.data, allow_unsigned=True)
    assert found.key is None
    # A signature that was taken away is missed.
    content = json.loads(attested.attestation.read_bytes())
    path.write_text(json.dumps({**content, "signatures": []}))
    refusals = refused(attested, attestation=path, key=None, allow_unsigned=True)
    assert "another key than it says" in refusals[0]


def test_revoked(attested: Attested, tmp_path: Path) -> None:
    shutil.copy(attested.key, tmp_path / "gate.pub")
    key, beside, named = tmp_path / "gate.pub", tmp_path / "gate.revoked", tmp_path / "list"
    digest, keyid = read_envelope(attested.attestation).digest, attested.signer.public_key.keyid
    beside.write_text(f"# taken back\n\n{'0' * 64} old\n")
    assert gradgate.verify(attested.attestation, attested.data, key=key).digest == digest
    beside.write_text(f"{digest.upper()}  poisoned after all  # by Ada")
    assert refused(attested, key=key) == [f"the attestation {digest} is revoked"]
    named.write_text(f"{keyid}\n{digest}")
    assert len(refused(attested, key=attested.key, revoked=named)) == 2
    for text in ("0" * 63, "gate.pub", f"{digest}{digest}"):
        named.write_text(text)
        with pytest.raises(ConfigError, match="line 1, begins with no digest"):
            gradgate.verify(attested.attestation, attested.data, key=key, revoked=named)
    with pytest.raises(ConfigError, match="cannot be read"):
        gradgate.verify(attested.attestation, attested.data, key=key, revoked=tmp_path / "nothing")
    beside.unlink()
    beside.symlink_to(tmp_path / "moved away")
    with pytest.raises(ConfigError, match="cannot be read"):
        gradgate.verify(attested.attestation, attested.data, key=key)


def test_another_model_or_template(attested: Attested, tmp_path: Path) -> None:
    other = tmp_path / "model"
    shutil.copytree(MODEL, other)
    assert gradgate.verify(attested.attestation, attested.data, key=attested.key, model=other)
    (other / "chat_template.jinja").write_text("{{ messages[0]['content'] }}")
    assert "is not the one that judged" in refused(attested, model=other)[0]
    with pytest.raises(ModelError, match="no such folder"):
        gradgate.verify(
            attested.attestation, attested.data, key=attested.key, model=tmp_path / "no" / "model"
        )


def test_adapters(attested: Attested, tmp_path: Path) -> None:
    model = {**attested.predicate["model"], "adapter": "a", "adapter_sha256": "0" * 64}
    path = attested.sealed_with(tmp_path / "a.json", {"model": model}, attested.signer)
    assert "with an adapter; name it" in refused(attested, attestation=path, model=MODEL)[0]
    memory = {"model_digest_of": "memory"}
    path = attested.sealed_with(tmp_path / "a.json", memory, attested.signer)
    assert "by a model in memory" in refused(attested, attestation=path, model=MODEL)[0]


def test_statements_of_other_kinds(attested: Attested, tmp_path: Path) -> None:
    from gradgate.attest.envelope import seal

    statement = read_envelope(attested.attestation).statement
    path = tmp_path / "a.json"
    said = statement["predicate"]
    accepted = {**said["accepted"], "n": "48"}
    cases: dict[str, Row] = {
        "no statement of type": {"_type": "https://in-toto.io/Statement/v0.1"},
        "predicateType is not": {"predicateType": "https://slsa.dev/provenance/v1"},
        "schema of its version: more": {"predicate": {**said, "more": 1}},
        "schema of its version: accepted.n": {"predicate": {**said, "accepted": accepted}},
        "not of the schema": {"predicate": None},
        "subject is not what its predicate": {"subject": []},
    }
    for text, changes in cases.items():
        path.write_bytes(seal({**statement, **changes}, attested.signer))
        assert text in refused(attested, attestation=path)[0]
    no_settings = attested.sealed_with(path, {"settings": {}}, attested.signer)
    assert "do not say how to read" in refused(attested, attested.rows, attestation=no_settings)[0]


def test_names_that_are_no_unicode(tmp_path: Path) -> None:
    rows = [{"prompt": f"{i} + 1 = ", "completion": f"{i + 1}", "\ud800": i} for i in range(48)]
    attested = write_attested(tmp_path, rows)
    assert attested.predicate["accepted"]["columns"] == ["\\ud800", "completion", "prompt"]
    assert gradgate.verify(attested.attestation, rows, key=attested.key).covered == "rows"
    other = [{**rows[0], "\udfff": 1}, *rows[1:]]
    assert r"has a column \udfff, which" in refused(attested, other)[0]


def test_more_names_than_can_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_rows, "MAX_NAMES", 20)
    rows = [{"prompt": f"{i} + 1 = ", "completion": f"{i + 1}", f"x{i}": i} for i in range(48)]
    with pytest.raises(DataError, match="more than 20 different keys"):
        write_attested(tmp_path, rows)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_gate_on_tables(tmp_path: Path, kind: str) -> None:
    make_key(tmp_path / "key")
    rows = [
        {"question": f"{i} + 1?", "answers": f"it is {i + 1}", "when": pd.Timestamp(i, unit="D")}
        for i in range(48)
    ]
    source, frame = tmp_path / f"rows.{kind}", pd.DataFrame(rows)
    frame.to_csv(source, index=False) if kind == "csv" else frame.to_parquet(source)
    verdict = run_attested_gate(gate_config(source, tmp_path / "key"), RunFolder(tmp_path / "run"))
    assert verdict.decision == "pass", verdict.reasons
    own = accepted_file(tmp_path / "run" / "rows")
    for data, covered in {own: "file", source: "rows"}.items():
        found = gradgate.verify(Attested(tmp_path).attestation, data, key=tmp_path / "key.pub")
        assert (found.covered, "when" in found.unread) == (covered, covered == "rows")


CHATS: list[Row] = [
    {
        "messages": [
            {"role": "user", "content": f"{i}?"},
            {"role": "assistant", "content": f"It is {i}.", "reasoning_content": f"hm {i}"},
        ],
        "tools": [{"type": "function", "function": {"name": f"f{i % 3}", "parameters": {}}}],
    }
    for i in range(40)
]


def test_chats_with_thoughts_and_tools(tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(MODEL, model)
    (model / "chat_template.jinja").write_text(
        "{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}<{{ m['role'] }}>"
        "{% if m['reasoning_content'] %}{{ m['reasoning_content'] }}\n{% endif %}"
        "{{ m['content'] }}\n{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    make_key(tmp_path / "key")
    source = write_jsonl(tmp_path / "rows.jsonl", CHATS)
    path = {"path": str(model), "device": "cpu", "dtype": "float32"}
    config = gate_config(source, tmp_path / "key", model=path)
    run = RunFolder(tmp_path / "run")
    verdict = run_attested_gate(config, run)
    assert verdict.decision == "pass", verdict.reasons
    attested = Attested(tmp_path)
    assert gradgate.verify(attested.attestation, CHATS, key=attested.key).covered == "rows"
    for i, change in enumerate(("thought", "tool", "text")):
        rows = json.loads(json.dumps(CHATS))
        said = rows[i]["messages"][1]
        if change == "tool":
            rows[i]["tools"][0]["function"]["name"] = "g"
        else:
            said["reasoning_content" if change == "thought" else "content"] += "!"
        assert "are not the accepted ones" in refused(attested, rows)[0]


TOKENS: list[Row] = [
    {"input_ids": [1, 20 + i, 30 + i, 40 + i, 2], "labels": [-100, -100, 30 + i, 40 + i, 2]}
    for i in range(40)
]


def test_rows_of_tokens(tmp_path: Path) -> None:
    attested = write_attested(tmp_path, TOKENS)
    assert gradgate.verify(attested.attestation, TOKENS, key=attested.key).covered == "tokens"
    first, second, *others = TOKENS
    ids, labels = first["input_ids"], first["labels"]
    for text, rows in {
        "not those that were judged": [
            {"input_ids": ids, "labels": [-100, ids[1], *labels[2:]]},
            second,
            *others,
        ],
        "not in their order": [second, first, *others],
        "learns another token": [{"input_ids": ids, "labels": [7, *labels[1:]]}, *TOKENS[1:]],
        "more ids than labels": [{"input_ids": ids, "labels": labels[1:]}, *TOKENS[1:]],
        "no list of whole numbers": [{"input_ids": "a", "labels": labels}, *TOKENS[1:]],
        "a column attention_mask": [{**first, "attention_mask": [0] * 5}, *TOKENS[1:]],
        "have 39 rows": TOKENS[1:],
    }.items():
        assert text in refused(attested, rows)[0]
    for number in (2**31, 2**64, -3):
        odd = {"input_ids": [number, *ids[1:]], "labels": labels}
        assert "no token id" in refused(attested, [odd, *TOKENS[1:]])[0]


def test_neither_torch_nor_an_orchestrator_is_needed(attested: Attested) -> None:
    code = (
        "import sys, gradgate\n"
        f"found = gradgate.verify({str(attested.attestation)!r}, {str(attested.data)!r}, "
        f"key={str(attested.key)!r}, model={str(MODEL)!r})\n"
        "print(found.covered, [n for n in ('torch', 'prefect', 'mlflow') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "file []\n"


def test_order_matters_for_any_two_different_rows(attested: Attested) -> None:
    rows, draw = attested.rows, random.Random(0)
    for _ in range(20):
        i, j = draw.sample(range(len(rows)), 2)
        swapped = [*rows]
        swapped[i], swapped[j] = swapped[j], swapped[i]
        assert "not in their order" in refused(attested, swapped)[0]
