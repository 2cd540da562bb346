"""The model card of a fine-tuned adapter or model: data, verdict, and settings.

Paths, revisions, reasons and module names may come from whoever wrote the data or the
configuration. They are escaped here, so that a card shows them and never renders them.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from huggingface_hub import ModelCard, ModelCardData

from gradgate.common.escaping import escape
from gradgate.config import LORA_SETTINGS, FinetuneConfig, ModelConfig
from gradgate.gate.verdict import Verdict
from gradgate.tuning.contradictions import Contradictions

METHOD_URL = "https://arxiv.org/abs/2605.26574"


@dataclass(frozen=True)
class Course:
    """How a training went.

    Attributes:
        n_accepted: Accepted samples.
        n_trained: Those that were trained on, each seen once an epoch.
        held_out: Numbers of the rows that were held out, in the tables of the gate run.
        held_out_loss: Mean loss on these, in nats a token; None where there are none.
        held_out_loss_before: The same of the model before.
        train_loss: Mean loss over all steps, in nats.
        seconds: Time of the training loop; loading and saving not included.
        n_parameters: Trainable parameters.
        versions: Version of each library by its name.
        contradictions: Rows that contradicted what had been learnt when they were seen first.
    """

    n_accepted: int
    n_trained: int
    held_out: list[int]
    held_out_loss: float | None
    held_out_loss_before: float | None
    steps: int
    train_loss: float
    seconds: float
    n_parameters: int
    versions: dict[str, str]
    contradictions: Contradictions


@dataclass(frozen=True)
class CardFacts:
    """What a card states.

    Attributes:
        source: Where the data came from, in words of the configuration.
        gate_run: Id of the gate run, as MLflow or Prefect knows it.
        attestation: Digest of the attestation of the verdict; None where there is none.
    """

    model: ModelConfig
    finetune: FinetuneConfig
    verdict: Verdict
    source: str
    gate_run: str
    attestation: str | None
    course: Course


def build_card(facts: CardFacts) -> ModelCard:
    """Write the card; its front matter names the base model for the hub."""
    is_lora = facts.finetune.kind == "lora"
    verdict = f"gradgate-verdict:{facts.verdict.decision}"
    data = ModelCardData(
        base_model=facts.model.path,
        library_name="peft" if is_lora else "transformers",
        pipeline_tag="text-generation",
        tags=["lora" if is_lora else "full-parameter", "gradgate", verdict],
    )
    sections = [
        _heading(facts),
        _section("Verdict of the gate", _verdict_rows(facts)),
        "Reasons:\n\n" + "\n".join(f"- reason: {escape(r)}" for r in facts.verdict.reasons),
        _section("Base model", _model_rows(facts)),
        _section("Training", _training_rows(facts)),
        _section("Versions", sorted(facts.course.versions.items())),
    ]
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n" + "\n\n".join(sections) + "\n")


def _heading(facts: CardFacts) -> str:
    is_lora = facts.finetune.kind == "lora"
    what = "LoRA adapter" if is_lora else "Full-parameter fine-tuning"
    return (
        f"# {what} of {escape(facts.model.path)}\n\n"
        "Every sample of the dataset was scored by its own output-layer gradient "
        f"([GradSentry]({METHOD_URL})) and judged by gradgate. The verdict "
        f"was `{facts.verdict.decision}`; the {'adapter' if is_lora else 'model'} was trained on "
        "the accepted samples and on nothing else. The fingerprints below say which samples those "
        "are; gradgate computed them anew before the training."
    )


def _section(title: str, rows: Iterable[tuple[str, object]]) -> str:
    lines = [f"| {escape(name)} | {escape(_text(value))} |" for name, value in rows]
    return f"## {title}\n\n| | |\n|---|---|\n" + "\n".join(lines)


def _text(value: object) -> str:
    if value is None:
        return "none"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _verdict_rows(facts: CardFacts) -> list[tuple[str, object]]:
    verdict = facts.verdict
    answers = [
        row
        for answer in verdict.answers
        for row in (
            ("Method", f"{answer.method}: are there {answer.question} rows?"),
            ("Threshold tau", answer.tau),
            ("Flagged rows", answer.n_flagged),
        )
    ]
    return [
        ("Dataset", facts.source),
        ("Verdict", verdict.decision),
        ("Gate run", facts.gate_run),
        ("Attestation", facts.attestation),
        ("Rows", verdict.n_rows),
        ("Rejected rows", verdict.n_rejected),
        ("Scored rows", verdict.n_scored),
        *answers,
        *_people_rows(verdict),
        *_probes_row(verdict),
        ("Quarantined rows", verdict.n_quarantined),
        ("Accepted rows", facts.course.n_accepted),
        ("Trained on", facts.course.n_trained),
        ("Dataset fingerprint", verdict.dataset_fingerprint),
        ("Accepted fingerprint", verdict.accepted_fingerprint),
        ("Accepted tokens", verdict.accepted_tokens),
    ]


def _people_rows(verdict: Verdict) -> list[tuple[str, object]]:
    """How many rows were kept or dropped by people, and who they are."""
    if not verdict.approvals:
        return []
    who = ", ".join(sorted({one.by for one in verdict.approvals}))
    return [
        ("Rows kept by people", verdict.n_kept),
        ("Rows dropped by people", verdict.n_dropped),
        ("Decided by", who),
    ]


def _probes_row(verdict: Verdict) -> list[tuple[str, object]]:
    return [] if verdict.probes is None else [("Probing set", verdict.probes.fingerprint)]


def _model_rows(facts: CardFacts) -> list[tuple[str, object]]:
    return [(name.replace("_", " "), value) for name, value in facts.verdict.model.items()]


def _training_rows(facts: CardFacts) -> list[tuple[str, object]]:
    idle = () if facts.finetune.kind == "lora" else LORA_SETTINGS
    settings = [(name.replace("_", " "), v) for name, v in facts.finetune if name not in idle]
    course = facts.course
    return [
        *settings,
        ("trainable parameters", course.n_parameters),
        ("steps", course.steps),
        ("training loss", course.train_loss),
        ("samples held out for the adapter test", len(course.held_out)),
        ("loss on these", course.held_out_loss),
        ("loss on these of the model before", course.held_out_loss_before),
        ("rows that contradict the others", course.contradictions.n_found),
        ("such rows that were to be expected", course.contradictions.n_expected),
        ("seconds", round(course.seconds, 1)),
    ]
