"""OpenLineage events of real gate runs, at a real receiver and in a file."""

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml
from flow_helpers import config, folder_of, verdict_of
from markdown_helpers import ROOT
from receiver_helpers import receiving

from flows.gate import gate
from gradgate.attest.envelope import read_envelope
from gradgate.config import PolicyConfig
from helpers import diverse_rows, write_jsonl
from tasks.lineage import FACET, FACET_SCHEMA, dataset_name, is_on

pytestmark = pytest.mark.server
server = pytest.mark.usefixtures("prefect_server")
LENIENT = PolicyConfig(max_poison_fraction=0.9, review_above=0.8)


@pytest.fixture(autouse=True)
def unconfigured() -> Iterator[None]:
    """The client adds variables of its own; none of them may stay."""
    before = dict(os.environ)
    yield
    for name in [name for name in os.environ if name.startswith("OPENLINEAGE")]:
        del os.environ[name]
    os.environ.update({k: v for k, v in before.items() if k.startswith("OPENLINEAGE")})


def facet_of(event: dict[str, Any]) -> dict[str, Any]:
    facet: dict[str, Any] = event["run"]["facets"][FACET]
    schema = json.loads((ROOT / "docs/openlineage.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema).validate(facet)
    assert facet["_schemaURL"] == FACET_SCHEMA == f"{schema['$id']}{schema['$ref']}"
    return facet


@server
def test_a_pass_is_told_with_its_rows_and_its_attestation(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = diverse_rows(40)
    source = write_jsonl(tmp_path / "rows.jsonl", rows)
    with receiving() as receiver:
        monkeypatch.setenv("OPENLINEAGE_URL", receiver.url)
        ended = gate(config(source, policy=LENIENT), return_state=True)
    assert ended.name == "Completed", ended.message
    assert receiver.paths == ["/api/v1/lineage"] * 2
    start, complete = receiver.received
    assert [start["eventType"], complete["eventType"]] == ["START", "COMPLETE"]
    assert start["run"]["runId"] == complete["run"]["runId"]
    assert start["run"]["runId"] == str(ended.state_details.flow_run_id)
    assert start["job"] == complete["job"]
    verdict, folder = verdict_of(state, ended), folder_of(state, ended)
    facet = facet_of(complete)
    assert (facet["decision"], facet["rows"]) == ("pass", 40)
    assert facet["datasetFingerprint"] == verdict.dataset_fingerprint
    sealed = read_envelope(folder / "attestation.json")
    assert facet["attestation"] == {"sha256": sealed.digest}  # unsigned
    (given,), (accepted,) = complete["inputs"], complete["outputs"]
    assert (given["namespace"], given["name"]) == ("file", str(source))
    assert given["facets"]["version"]["datasetVersion"] == verdict.dataset_fingerprint
    assert accepted["name"] == str(folder / "rows" / "accepted.jsonl")
    assert accepted["outputFacets"]["outputStatistics"]["rowCount"] == verdict.n_accepted
    sent = json.dumps(receiver.received)
    assert not [text for row in rows for text in row.values() if str(text) in sent]


@server
def test_an_error_is_a_failure_in_the_file(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "events.jsonl"
    settings = {"transport": {"type": "file", "log_file_path": str(log), "append": True}}
    (tmp_path / "openlineage.yml").write_text(yaml.safe_dump(settings))
    monkeypatch.setenv("OPENLINEAGE_CONFIG", str(tmp_path / "openlineage.yml"))
    ended = gate(config("nowhere://me:secret@example.com/a?sig=secret"), return_state=True)
    assert ended.name == "Failed"
    start, fail = (json.loads(line) for line in log.read_text().splitlines())
    assert [start["eventType"], fail["eventType"]] == ["START", "FAIL"]
    assert facet_of(fail)["decision"] == "error"
    assert fail["outputs"] == []
    assert fail["inputs"][0]["namespace"] == "nowhere://example.com"
    assert "secret" not in log.read_text()


@server
def test_a_server_that_is_down_fails_no_verdict(
    state: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    transport = {"type": "http", "url": "http://me:secret@127.0.0.1:9", "retry": {"total": 0}}
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT", json.dumps(transport))
    source = write_jsonl(tmp_path / "rows.jsonl", diverse_rows(40))
    with caplog.at_level(logging.WARNING, "gradgate.tasks"):
        ended = gate(config(source, policy=LENIENT), return_state=True)
    assert ended.name == "Completed", ended.message
    told = [r.message for r in caplog.records if "no OpenLineage event" in r.message]
    assert len(told) == 2
    assert "secret" not in str(told)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("s3://bucket/a/b.jsonl", ("s3://bucket", "a/b.jsonl")),
        ("https://me:pw@example.com/x.csv?sig=1", ("https://example.com", "x.csv")),
        ("simplecache::s3://bucket/x", ("s3://bucket", "x")),
        ("tatsu-lab/alpaca", ("huggingface", "tatsu-lab/alpaca")),
        (str(ROOT / "LICENSE"), ("file", str(ROOT / "LICENSE"))),
        ((ROOT / "LICENSE").as_uri(), ("file", str(ROOT / "LICENSE"))),
    ],
)
def test_names_of_datasets(source: str, name: tuple[str, str]) -> None:
    assert dataset_name(source) == name


def test_its_own_configuration_switches_it_on() -> None:
    assert not is_on({"OPENLINEAGE_NAMESPACE": "x"})
    assert is_on({"OPENLINEAGE_URL": "http://x"})
    assert is_on({"OPENLINEAGE__TRANSPORT__TYPE": "console"})
    assert not is_on({"OPENLINEAGE_URL": "http://x", "OPENLINEAGE_DISABLED": "True"})
