"""Fine-tuning on the samples that a gate run accepted: LoRA, or of every parameter.

There is no other way to saved weights: `finetune` recomputes every fingerprint of the verdict
before it loads the model, and once more while it writes the rows that the Trainer reads. A drill
trains by `make_trainable` and `train` alone, which save nothing.
"""

import json
import logging
import shutil
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import transformers
from datasets import Dataset
from peft import PeftModel
from securesystemslib.signer import SSlibKey

from gradgate.attest.envelope import read_envelope
from gradgate.attest.model_signature import sign_folder
from gradgate.attest.own_run import require_attested
from gradgate.common.files import folder_written_whole
from gradgate.common.run_folder import RunFolder
from gradgate.config import FinetuneConfig, ModelConfig
from gradgate.errors import DataError, ModelError
from gradgate.gate.acceptance import NotAcceptedError, require_passing, write_accepted
from gradgate.gate.verdict import Verdict
from gradgate.models.identity import load_model
from gradgate.models.loading import LoadedModel
from gradgate.release.training_record import TRAINING_RECORD
from gradgate.train.held_out import draw_held_out, mean_loss, prompts_of
from gradgate.train.model_card import CardFacts, Course, build_card
from gradgate.tuning.contradictions import Watch
from gradgate.tuning.full import save_model
from gradgate.tuning.lora import modules_of, save_adapter
from gradgate.tuning.trainer import Tuned, make_trainable, train, trained_parameters

logger = logging.getLogger(__name__)

LIBRARIES = ("gradgate", "torch", "transformers", "peft", "datasets", "safetensors")


@dataclass(frozen=True)
class PassedRun:
    """A run of the gate whose accepted samples are trained on.

    Attributes:
        folder: Its samples.parquet and flags.parquet are read.
        verdict: What the gate decided, as its caller knows it; the folder's own is not read.
        name: Id of the run, for the model card.
        source: The dataset's name, for the model card.
    """

    folder: Path
    verdict: Verdict
    name: str
    source: str


@dataclass(frozen=True)
class AttestationCheck:
    """How the attestation of a run is checked; one that is there is checked always.

    Attributes:
        key: Public key of the gate, if it has one.
        is_required: Whether there has to be a signed one.
    """

    key: SSlibKey | None = None
    is_required: bool = False


@dataclass(frozen=True)
class FinetuneResult:
    """What a fine-tuning run made: a folder with the adapter, or with the whole model."""

    folder: Path
    course: Course


_ANY_ATTESTATION = AttestationCheck()


def finetune(
    run: PassedRun,
    model: ModelConfig,
    tuning: FinetuneConfig,
    output: Path,
    check: AttestationCheck = _ANY_ATTESTATION,
    model_key: str | None = None,
    held_out: float = 0.0,
) -> FinetuneResult:
    """Fine-tune on the accepted samples of a gate run; the result appears when it is whole.

    An adapter in `model` is trained further and not merged: what is saved applies to the base
    model that it names, like any other adapter. Its rank, scale, dropout and modules are part of
    it, so `tuning` must state the same ones (`all-linear` stands for the modules it has). A
    full-parameter tuning saves a whole model, and leaves the files of `model` as they are. On a CPU
    the same seed gives the same weights. The process's random generators are seeded.

    Args:
        run: The gate run.
        model: The model that scored, which is also the one to train.
        tuning: The training settings.
        output: The folder to make.
        check: Of its attestation.
        model_key: File of the key that signs the folder, as it is then; None: it is not signed.
        held_out: Part of the accepted samples that is not trained on, see `draw_held_out`.

    Raises:
        NotAcceptedError: The verdict is no pass, the files of the run changed since, or its
            attestation is not on this verdict.
        DataError: A file of the run is broken, or `output` exists.
        ConfigError: The settings do not fit the adapter or the device, or `model_key` is no key.
        ModelError: The model is another than the one that scored, has no such modules, or its
            loss is not finite; nothing is kept.
    """
    attestation = _require_trainable(run, check, output)
    loaded = _scoring_model(run.verdict, model)
    with folder_written_whole(output) as part:
        (work := part / "work").mkdir()
        tuned, course = _trained(loaded, model, tuning, work, run, held_out)
        facts = CardFacts(model, tuning, run.verdict, run.source, run.name, attestation, course)
        _save(tuned, loaded, facts, part)
        shutil.rmtree(work)
        _seal(RunFolder(run.folder), part, attestation, model_key)
    n, steps, loss = course.n_trained, course.steps, course.train_loss
    logger.info("fine-tuned on %d samples in %d steps, loss %.4f", n, steps, loss)
    return FinetuneResult(output, course)


def _require_trainable(run: PassedRun, check: AttestationCheck, output: Path) -> str | None:
    """Check all that forbids the training; the digest of the attestation, where there is one."""
    folder = RunFolder(run.folder)
    attestation = require_attested(folder, run.verdict, check.key, check.is_required)
    require_passing(run.folder, run.verdict)
    _require_absent(output)
    return attestation


def _seal(run: RunFolder, part: Path, attestation: str | None, model_key: str | None) -> None:
    """Put the attestation into the folder, and sign the whole of it; nothing is added later."""
    if attestation is not None:
        _copy_attestation(run, part, attestation)
    if model_key is not None:
        sign_folder(part, model_key)


def _copy_attestation(run: RunFolder, folder: Path, digest: str) -> None:
    """Put the attestation beside what was trained, if it still is the one that was checked."""
    copy = RunFolder(folder).attestation
    shutil.copyfile(run.attestation, copy)
    if read_envelope(copy).digest != digest:
        raise NotAcceptedError(f"{run.attestation} changed in the meantime; run the gate again")


def _require_absent(output: Path) -> None:
    if output.exists():
        raise DataError(f"{output} exists; remove it or name another output folder")


def _trained(
    loaded: LoadedModel,
    model: ModelConfig,
    tuning: FinetuneConfig,
    work: Path,
    run: PassedRun,
    part: float,
) -> tuple[Tuned, Course]:
    """The model, trained on the accepted rows but for a part, and its course."""
    verdict = run.verdict
    write_accepted(run.folder, verdict, work / "accepted.arrow")
    transformers.set_seed(tuning.seed)
    tuned = make_trainable(loaded, model, tuning)
    rows = Dataset.from_file(str(work / "accepted.arrow"))
    draw = f"{tuning.seed}:{verdict.accepted_fingerprint}:{verdict.accepted_tokens}"
    out = draw_held_out(prompts_of(rows), part, draw) if part else []
    held_out, rest = rows.select(out), rows.select(np.delete(np.arange(len(rows)), out))
    before = mean_loss(tuned, held_out, tuning.batch_size) if out else None
    watch = Watch()
    trained = train(tuned, loaded, rest, tuning, work, watch=watch)
    after = mean_loss(tuned, held_out, tuning.batch_size) if out else None
    return tuned, Course(
        n_accepted=len(rows),
        n_trained=len(rest),
        held_out=held_out["row"][:],
        held_out_loss=after,
        held_out_loss_before=before,
        n_parameters=sum(p.numel() for p in trained_parameters(tuned)),
        steps=trained.global_step,
        train_loss=trained.training_loss,
        seconds=trained.metrics["train_runtime"],
        versions={name: version(name) for name in LIBRARIES},
        contradictions=watch.found(),
    )


def _scoring_model(verdict: Verdict, model: ModelConfig) -> LoadedModel:
    """The model, if it is the one that scored."""
    loaded = load_model(model)
    scored, here = verdict.model, loaded.identity
    keys = [key for key in {**scored, **here} if key not in scored or scored[key] != here.get(key)]
    if keys:
        changes = "; ".join(f"{key}: {scored.get(key)!r}, now {here.get(key)!r}" for key in keys)
        raise ModelError(
            f"this is not the model that scored the dataset ({changes}); "
            "name that model, or run the gate again with this one"
        )
    return loaded


def _save(tuned: Tuned, loaded: LoadedModel, facts: CardFacts, folder: Path) -> None:
    record = {
        **asdict(facts),
        "model": facts.model.model_dump(),
        "finetune": facts.finetune.model_dump(),
        **asdict(facts.course),
    }
    del record["course"]
    if isinstance(tuned, PeftModel):
        save_adapter(tuned, folder, loaded.is_resized)
        record["target_modules"] = modules_of(tuned.peft_config[tuned.active_adapter])
    else:
        save_model(tuned, folder)
    loaded.tokenizer.save_pretrained(str(folder))
    build_card(facts).save(folder / "README.md")  # over peft's
    text = json.dumps(record, indent=2, allow_nan=False) + "\n"
    (folder / TRAINING_RECORD).write_text(text, encoding="utf-8")
