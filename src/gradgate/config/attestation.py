"""How a verdict is attested: who signs it, and for how long it may be relied on."""

from pydantic import ConfigDict, Field, field_validator

from gradgate.config.section import Section


class AttestationConfig(Section):
    """The signed statement on a verdict."""

    # Prefect 3.8.8 drops every key `required` of a schema, this field too, and would refuse it as
    # unknown. An unknown key is refused all the same: when the run begins.
    model_config = ConfigDict(json_schema_extra={"additionalProperties": True})

    key: str | None = Field(
        None,
        min_length=1,
        description="File of the private Ed25519 key (`gradgate attest keygen`); prefect:NAME, a "
        "Secret block, in flows. When absent, the variable GRADGATE_SIGNING_KEY: PEM or a file.",
    )
    required: bool = Field(
        False, description="No verdict without a signature; otherwise it may be unsigned."
    )
    model_key: str | None = Field(
        None,
        min_length=1,
        description="File of a private EC key (`gradgate attest keygen --for-models`), by which "
        "gated-finetune signs the folder of what it releases; not signed when absent.",
    )
    valid_days: int | None = Field(
        None, ge=1, le=36_500, description="Days for which it may be relied on; always when absent."
    )

    @field_validator("key", "model_key")
    @classmethod
    def _names_the_key(cls, key: str | None) -> str | None:
        """A key itself would stand in every record of the configuration."""
        if key is not None and ("PRIVATE KEY" in key or "\n" in key):
            raise ValueError(
                "holds a key and not the name of its file; write it to a file (attestation.key may "
                "also come by the variable GRADGATE_SIGNING_KEY), and make a new key if this one "
                "was recorded"
            )
        return key
