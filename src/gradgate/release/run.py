"""The test of what a fine-tuning left: both models are loaded, and what breaks is no pass."""

import logging
import math
from dataclasses import replace
from functools import cache
from pathlib import Path

from gradgate.common.redaction import redacted
from gradgate.common.run_folder import RunFolder
from gradgate.config import DataConfig, ModelConfig
from gradgate.errors import GradgateError, ModelError, TransientError
from gradgate.evaluation.answers import end_tokens
from gradgate.gate.verdict import Verdict
from gradgate.models.errors import translated_errors
from gradgate.models.folder import ADAPTER_CONFIG, ADAPTER_WEIGHTS, CONFIG
from gradgate.models.handle import ConfiguredModel
from gradgate.models.identity import load_model
from gradgate.models.loading import limit_of
from gradgate.models.locating import locate_adapter, locate_model
from gradgate.models.settings_file import read_settings
from gradgate.models.skeleton import require_weights
from gradgate.models.weights_file import read_shapes
from gradgate.release.comparable import check_comparable
from gradgate.release.config import AdapterTestConfig
from gradgate.release.contradicted import with_contradictions
from gradgate.release.evidence import Evidence
from gradgate.release.result import AdapterTest
from gradgate.release.subject import Model, Subject
from gradgate.release.told import with_told
from gradgate.release.training_record import NO_RECORD, TrainingRecord, read_record
from gradgate.release.trial import Trial

logger = logging.getLogger(__name__)


def run_test(
    run: RunFolder,
    verdict: Verdict,
    data: DataConfig,
    model: ModelConfig,
    tuned: Path,
    config: AdapterTestConfig,
) -> AdapterTest:
    """Test an adapter, or a whole model, against the model that it was made of.

    Args:
        run: A gate run on the data, by the model before.
        verdict: Of the run; its groups are asked about, whatever it decides.
        data: Longest sample, and today's date for chat templates.
        model: The model before, with an adapter where one was trained further.
        tuned: Folder of what was trained.
        config: How much is asked.

    Returns:
        With the outcome `error` where something could not be read, loaded or asked.

    Raises:
        TransientError: The hub did not answer; the same call may work later.
    """
    try:
        with translated_errors(f"what was trained, {str(tuned)!r}", "test"):
            test = _tested(run, verdict, data, model, tuned, config)
    except TransientError:
        raise
    except GradgateError as error:
        logger.info("the test broke", exc_info=True)
        why = redacted(f"the fine-tuning was not tested: {error}")
        return AdapterTest("error", [why])
    logger.info("test of what was trained: %s (%s)", test.outcome, "; ".join(test.reasons))
    return test


def _tested(
    run: RunFolder,
    verdict: Verdict,
    data: DataConfig,
    model: ModelConfig,
    tuned: Path,
    config: AdapterTestConfig,
) -> AdapterTest:
    after = _with(model, tuned)
    unread = check_comparable(model, after)
    loaded = load_model(after)

    @cache
    def before() -> Model:
        return load_model(model).model

    bare = _is_switched_off_whole(model, tuned) and not loaded.is_base_changed
    base = None if bare else before
    record = read_record(tuned, verdict)
    subject = Subject.of(loaded.model, loaded.tokenizer, base, config, unread)
    test = ask_models(run, verdict, data, subject, config, record)
    return replace(test, model=loaded.identity)


def ask_models(
    run: RunFolder,
    verdict: Verdict,
    data: DataConfig,
    subject: Subject,
    config: AdapterTestConfig,
    record: TrainingRecord = NO_RECORD,
) -> AdapterTest:
    """Test a model in memory; `run_test` is for one that was saved.

    Args:
        run: A gate run on the data, by the model before.
        verdict: Of the run.
        data: Longest sample, and today's date for chat templates.
        subject: The models after and before the fine-tuning.
        config: How much is asked.
        record: Of the training: the prompts of rows that were held out are asked first, and rows
            that contradict the others count.

    Raises:
        DataError: A table of the run cannot be read.
        ModelError: The model before gives figures that are not finite, a prompt has one of the
            tokens that its tokenizer lacks, or an adapter changes nothing on any prompt.
    """
    ends = end_tokens(subject.tuned, subject.tokenizer)
    read = Evidence.read(run, verdict, config.max_groups, config.seed, ends, record.held_out)
    subject = replace(subject, max_new_tokens=read.answer_length(config.max_new_tokens))
    evidence = with_told(read, subject.max_new_tokens)
    limit = limit_of(subject.tuned.config, data.max_tokens)
    test = Trial(subject, evidence, config, limit, data.template_date).run()
    if test.outcome != "error" and not subject.cost.is_different:
        raise ModelError(
            "the adapter changes nothing of what the model computes, on any prompt that was asked: "
            "it was not trained, or it is at work on other prompts only"
        )
    _require_finite(test)
    return with_contradictions(test, record.contradictions, run, subject.tokenizer)


def _require_finite(test: AdapterTest) -> None:
    """Refuse figures that no rule can judge."""
    found = [*test.findings, *test.excused]
    figures = [value for one in found for value in (one.support, one.surprise, one.p_value)]
    if not all(value is None or math.isfinite(value) for value in figures):
        raise ModelError("the model before gives log-probabilities that are not finite")


def check_tuned(model: ModelConfig, tuned: Path) -> None:
    """Find out before anything is computed whether it could be loaded.

    Raises:
        ModelError: It is no folder, its files are damaged or do not fit the model, or it could not
            be asked as it is used.
        TransientError: The hub did not answer for the model.
    """
    if not tuned.is_dir():
        raise ModelError(
            f"{tuned} is no folder; name the one that the adapter or the fine-tuned model lies in"
        )
    if not any((tuned / name).exists() for name in (ADAPTER_CONFIG, CONFIG)):
        raise ModelError(
            f"{tuned} holds neither an adapter ({ADAPTER_CONFIG}) nor a model ({CONFIG}); name the "
            "folder that it was saved to"
        )
    after = _with(model, tuned)
    if after.adapter is None:
        require_weights(after, locate_model(after))
    else:
        locate_adapter(after.adapter)
    ConfiguredModel(after).check()
    check_comparable(model, after)


def other_base(model: ModelConfig, tuned: Path) -> str | None:
    """The model that an adapter says it was made of, where that has another name than `model`.

    The names may differ and the weights be the same: a folder was moved, or is a copy of the hub's.
    """
    if not _is_adapter(tuned):
        return None
    with translated_errors(f"adapter {str(tuned)!r}"):
        named = read_settings(tuned / ADAPTER_CONFIG).get("base_model_name_or_path")
    if not isinstance(named, str) or not named or named == model.path:
        return None
    is_same = Path(named).exists() and Path(named).resolve() == Path(model.path).resolve()
    return None if is_same else named


def _is_adapter(tuned: Path) -> bool:
    return (tuned / ADAPTER_CONFIG).exists()


def _with(model: ModelConfig, tuned: Path) -> ModelConfig:
    """The model after the fine-tuning."""
    if _is_adapter(tuned):
        return model.model_copy(update={"adapter": str(tuned)})
    return model.model_copy(update={"path": str(tuned), "revision": None, "adapter": None})


def _is_switched_off_whole(model: ModelConfig, tuned: Path) -> bool:
    """Whether the model before is what is left when the adapter is switched off in place.

    It is not where an adapter was trained further, and where one brings weights that take the
    place of others: an embedding, a bias. Whether peft changed others shows when it is loaded.
    """
    if model.adapter is not None or not _is_adapter(tuned):
        return False
    return all(".lora_" in name for name in read_shapes(tuned / ADAPTER_WEIGHTS))
