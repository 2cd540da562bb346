"""The configuration: one pydantic model is UI form, API schema and YAML file at once."""

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from gradgate.common.patterns import compile_pattern
from gradgate.config.approvals import ApprovalsConfig
from gradgate.config.attestation import AttestationConfig
from gradgate.config.data import (
    DEFAULT_TEMPLATE,
    DEFAULT_TEMPLATE_DATE,
    Columns,
    DataConfig,
    Limits,
    Preference,
)
from gradgate.config.reading import (
    check_config,
    load_config,
    parse_yaml,
    read_config,
    section_in,
)
from gradgate.config.section import Fraction, Section

__all__ = [
    "DEFAULT_TEMPLATE",
    "DEFAULT_TEMPLATE_DATE",
    "LORA_SETTINGS",
    "ApprovalsConfig",
    "AttackName",
    "AttestationConfig",
    "Columns",
    "DataConfig",
    "FinetuneConfig",
    "Fraction",
    "InDoubt",
    "Limits",
    "ModelConfig",
    "PolicyConfig",
    "PowerConfig",
    "Preference",
    "RayConfig",
    "SafetyConfig",
    "ScoringConfig",
    "Section",
    "TrackingConfig",
    "check_config",
    "load_config",
    "parse_yaml",
    "read_config",
    "section_in",
]

AttackName = Literal[
    "badnets",
    "addsent",
    "cba",
    "stylebkd",
    "replaced",
    "refusal",
    "long",
    "paraphrased",
    "clean_label",
    "adaptive",
    "title_case",
    "carriage_return",
    "blank_line",
    "white_space",
    "word_order",
    "repeated_word",
    "many_words",
    "homoglyph",
    "invisible",
    "existing_label",
    "short_target",
    "echo",
    "leaked",
    "varied_target",
    "wrong_answer",
    "no_trigger",
    "copies",
    "diluted",
    "introduced",
    "filled",
    "polite",
    "unmarked",
    "together",
    "many_rare_words",
    "decoys",
    "combo",
]

InDoubt = Literal["keep", "quarantine", "block"]


class ModelConfig(Section):
    """The model that scores, which is also the one that is fine-tuned."""

    path: str = Field(min_length=1, description="Hub id or folder of a causal language model.")
    revision: str | None = Field(None, description="Hub: branch, tag or commit.")
    adapter: str | None = Field(None, description="Folder or hub id of a LoRA adapter to load.")
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N.")
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="auto: bfloat16 where the GPU or CPU multiplies it, float32 elsewhere."
    )
    device_map: Literal["auto"] | dict[str, int | str] | None = Field(
        None,
        description="For a model that is larger than a GPU, to score with: auto spreads its layers "
        "over all GPUs, the memory and the disk; or where each module lies (accelerate's device "
        "map).",
    )

    @model_validator(mode="after")
    def _spread_as_it_is(self) -> Self:
        if self.device_map is not None and self.device != "auto":
            raise ValueError(
                f"model.device {self.device} and model.device_map both say where the model lies; "
                "leave one of them out"
            )
        if self.device_map is not None and self.adapter is not None:
            raise ValueError(
                "model.device_map takes no model.adapter; merge the adapter into the model "
                "(peft's merge_and_unload), save it, and name that folder as model.path"
            )
        return self


class RayConfig(Section):
    """Workers of Ray, where scoring.backend is ray (docs/shards.md)."""

    address: str | None = Field(
        None,
        min_length=1,
        description="Of a cluster, such as head:6379, or auto for the one that this machine "
        "belongs to; a cluster of this machine alone when absent.",
    )
    workers: int | None = Field(
        None, ge=1, description="Each holds a model of its own; as many as fit when absent."
    )
    cpus: float = Field(1.0, gt=0, description="Processors of a worker; so many threads it has.")
    gpus: float | None = Field(
        None, ge=0, description="GPUs of a worker; when absent one where the cluster has some."
    )
    folder: str | None = Field(
        None,
        min_length=1,
        description="Folder, or fsspec URL, that all workers see, for the scores of a gate's run; "
        "in the state folder when absent, which workers on other machines do not see.",
    )


class ScoringConfig(Section):
    """Spectral entropy of the output-layer gradient (GradSentry, arXiv 2605.26574)."""

    mode: Literal["crop", "full"] = Field(
        "crop",
        description="crop: the published [:V//8, :d//8] block of the gradient; full: all of it.",
    )
    k: int = Field(16, ge=2, le=1024, description="Number of leading singular values.")
    batch_tokens: int | None = Field(
        None,
        ge=1,
        description="Tokens in a step of the model; by free memory when absent.",
    )
    store: bool = Field(
        True, description="Keep scores in the state folder and score only what is new or changed."
    )
    store_max_mib: int | None = Field(
        4096,
        ge=1,
        description="Beyond this size the scores not used for longest are dropped; null: never.",
    )
    backend: Literal["local", "ray"] = Field(
        "local", description="local: this process scores; ray: workers of Ray do."
    )
    ray: RayConfig = RayConfig()
    from_shards: str | None = Field(
        None,
        min_length=1,
        description="Folder of shards, or its fsspec URL, that `prepare` was given these rows for "
        "and whose shards are all scored: the scores come from there, and neither from the score "
        "store nor into it.",
    )


class SafetyConfig(Section):
    """The probing set that the safety of the model is measured by."""

    probes: str | None = Field(
        None,
        min_length=1,
        description="JSON file with a probing set of your own; the built-in one when absent.",
    )


class PowerConfig(Section):
    """Canaries: known attacks planted in a scored copy, to say what the gate can see."""

    attacks: list[AttackName] = Field(
        [
            *("badnets", "cba", "stylebkd", "paraphrased", "clean_label"),
            *("title_case", "many_words", "existing_label", "leaked", "no_trigger"),
        ],
        description="Attacks to plant; none: no canaries. The default has one for each way to "
        "hide, so that the cost is bounded: a fixed target, cues at two places, a style, many "
        "wordings, answers that are right anyway, a trigger without words, many triggers, a target "
        "that honest rows have, a trigger that they have, and none.",
    )
    min_planted: int = Field(
        12,
        ge=1,
        description="Samples that an attack is planted in at first; then 3 and 10 times as many.",
    )
    max_rows: int = Field(
        2_000, ge=1, description="Canaries are planted in a part of so many rows of a larger set."
    )
    seed: int = Field(0, ge=0, lt=2**32, description="Chooses the rows.")


class PolicyConfig(Section):
    """What the gate decides."""

    max_poison_fraction: Fraction = Field(
        0.05, description="fail when the flagged part of the scored rows is larger."
    )
    review_above: Fraction = Field(
        0.02,
        description="review when the part of the scored rows that is flagged or in doubt is "
        "larger; what is quarantined is limited by review_above.",
    )
    max_harmful_fraction: Fraction = Field(
        0.05, description="As max_poison_fraction, for rows that are flagged as harmful."
    )
    harmful_review_above: Fraction = Field(
        0.02, description="As review_above, for rows that are harmful or may be."
    )
    flagged: Literal["drop", "block"] = Field(
        "drop",
        description="drop: fine-tune without the flagged samples; block: any flagged sample fails.",
    )
    in_doubt: InDoubt = Field(
        "quarantine",
        description="quarantine: fine-tune without the rows in doubt; keep: with them; block: any "
        "row in doubt needs a review.",
    )
    max_copies: int | None = Field(
        3,
        ge=1,
        description="Fine-tune on at most so many copies of a text, verbatim or but for case, "
        "white space and punctuation; further ones are in doubt; null: on all.",
    )
    expected: list[str] = Field(
        [],
        description="Texts that the owner vouches for, such as a fixed closing line; /.../ is a "
        "regular expression.",
    )

    @field_validator("expected")
    @classmethod
    def _patterns(cls, expected: list[str]) -> list[str]:
        for written in expected:
            compile_pattern(written)
        return expected

    @model_validator(mode="after")
    def _review_below_max(self) -> Self:
        for review, most in (
            ("review_above", "max_poison_fraction"),
            ("harmful_review_above", "max_harmful_fraction"),
        ):
            if getattr(self, review) > getattr(self, most):
                raise ValueError(
                    f"policy.{review} ({getattr(self, review)}) must not be larger than "
                    f"policy.{most} ({getattr(self, most)})"
                )
        return self


class TrackingConfig(Section):
    """The audit trail in MLflow."""

    uri: str | None = Field(
        None, description="MLflow tracking URI; a sqlite file in the state folder when absent."
    )
    ui_url: str | None = Field(
        None,
        pattern=r"^https?://[\w.:\[\]-]+(/[\w./~-]*)?$",
        description="Address at which people open MLflow's pages, where it is not that of uri: as "
        "behind a proxy, in containers, or for a database. Links for reviewers begin with it.",
    )
    experiment: str = Field("gradgate", min_length=1, description="MLflow experiment.")
    gate: str | None = Field(
        None,
        min_length=1,
        max_length=200,
        description="Name of the gate: a run says what changed since the last one of this name, "
        "whatever the file is called by then. When absent the source and the model name it.",
    )


class FinetuneConfig(Section):
    """Fine-tuning by transformers' Trainer; defaults are GradSentry's settings."""

    kind: Literal["lora", "full"] = Field(
        "lora",
        description="lora: train a LoRA adapter by peft; full: train every parameter, and save "
        "the whole model.",
    )
    r: int = Field(4, ge=1, description="lora: rank of the update.")
    alpha: int = Field(8, ge=1, description="lora: scale of the update.")
    dropout: Fraction = Field(0.0, description="lora: dropout on the adapter's input.")
    target_modules: list[str] | Literal["all-linear"] = Field(
        "all-linear",
        description="lora: names of the adapted modules, or all-linear: the linear layers of the "
        "decoder but for the head, routers, and those of Mamba that only a fused kernel reads.",
    )
    epochs: float = Field(3.0, gt=0, description="Passes over the accepted samples.")
    learning_rate: float = Field(2e-5, gt=0, description="Peak learning rate.")
    batch_size: int = Field(4, ge=1, description="Samples per step.")
    seed: int = Field(0, ge=0, lt=2**32, description="Seed of initialisation, dropout and order.")

    @model_validator(mode="after")
    def _no_adapter_settings(self) -> Self:
        """A rank that nothing has would be believed to be in use."""
        fields = {name: type(self).model_fields[name].default for name in LORA_SETTINGS}
        idle = [name for name, default in fields.items() if getattr(self, name) != default]
        if self.kind == "full" and idle:
            raise ValueError(
                f"kind full trains every parameter and has no adapter; leave {', '.join(idle)} "
                "out, or set kind to lora"
            )
        return self


LORA_SETTINGS = ("r", "alpha", "dropout", "target_modules")
