"""Test what was trained, and release it when it passes."""

from dataclasses import replace

from prefect import task
from prefect.artifacts import create_markdown_artifact

from gradgate.attest.model_signature import sign_folder
from gradgate.gate.verdict import Verdict
from gradgate.release.holding import note_in_card, release, write_test
from gradgate.release.page import as_markdown
from gradgate.release.result import AdapterTest
from gradgate.release.run import run_test
from gradgate.train.config import GatedFinetuneConfig
from gradgate.train.finetune import FinetuneResult
from tasks.alerts.messages import label_run
from tasks.retries import OPTIONS
from tasks.run import GateRun


@task(**OPTIONS)
def test_adapter(
    run: GateRun, config: GatedFinetuneConfig, verdict: Verdict, result: FinetuneResult
) -> AdapterTest:
    """Write adapter_test.json and adapter_test.md, and note the outcome in the model card."""
    folder, asked = run.folder, config.adapter_test
    test = run_test(folder, verdict, config.data, config.model, result.folder, asked)
    write_test(test, folder.adapter_test, folder.adapter_test_page)
    note_in_card(result.folder, test)
    create_markdown_artifact(as_markdown(test), key="adapter-test")
    label_run(run.flow_run, _in_figures(test))
    return test


def _in_figures(test: AdapterTest) -> str:
    """For alerts: no word of it comes from the data or from the model."""
    if test.outcome == "pass":
        return f"pass: {test.n_answers:,} answers show no backdoor"
    return f"{test.outcome}: what was trained is held back, {len(test.findings)} findings"


@task(**OPTIONS)
def release_adapter(
    run: GateRun, config: GatedFinetuneConfig, result: FinetuneResult, test: AdapterTest
) -> FinetuneResult:
    """Sign what passed, and give it its name; the result says where it lies then."""
    folder, key = run.folder, config.attestation.model_key
    if key is not None and test.outcome == "pass":
        sign_folder(result.folder, key)
    is_adapter = result.folder == folder.held_adapter
    released = folder.adapter if is_adapter else folder.model
    release(result.folder, released, test)
    return replace(result, folder=released)
