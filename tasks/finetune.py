"""Fine-tune on the accepted samples of a passing gate run."""

import pyarrow.parquet as pq
from prefect import task

from gradgate.config import GatedFinetuneConfig
from gradgate.lora import FinetuneResult
from gradgate.lora import finetune as finetune_accepted
from gradgate.prepare import Prepared
from gradgate.verdict import load_verdict
from tasks import tracking
from tasks.retries import OPTIONS
from tasks.run import GateRun
from tasks.tracking import TrackedRun


@task(**OPTIONS)
def finetune(run: GateRun, config: GatedFinetuneConfig) -> FinetuneResult:
    """Train in a run nested below the gate's; the core refuses without a passing verdict."""
    nested = tracking.start_run(config, "finetune", "fine-tuning", parent=run.tracked)
    try:
        result = finetune_accepted(
            run_dir=run.folder,
            model=config.model,
            lora=config.lora,
            output=run.folder / "adapter",
            gate_run=run.tracked.run_id,
            source=Prepared.load(run.folder).source,
        )
        _log_result(nested, run, result)
    except BaseException:
        tracking.end_run(nested, ok=False)
        raise
    tracking.end_run(nested, ok=True)
    return result


def _log_result(nested: TrackedRun, run: GateRun, result: FinetuneResult) -> None:
    prepared = Prepared.load(run.folder)
    tracking.log_dataset(
        nested,
        name=f"accepted rows of {run.folder.name}",
        source=prepared.source,
        fingerprint=str(load_verdict(run.folder / "verdict.json").accepted_fingerprint),
        sample=pq.read_schema(prepared.samples_path).empty_table().to_pandas(),
        n_rows=result.n_samples,
        context="training",
    )
    tracking.log_metrics(
        nested,
        {
            "train_loss": result.train_loss,
            "train_seconds": result.seconds,
            "steps": result.steps,
            "samples": result.n_samples,
            "trainable_parameters": result.n_parameters,
        },
    )
    tracking.set_tags(nested, {"gradgate.gate_run": run.tracked.run_id})
    tracking.log_files(nested, result.adapter, "adapter")
