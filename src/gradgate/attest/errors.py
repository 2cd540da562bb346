"""The refusals of a verification."""

from gradgate.errors import GradgateError


class NotVerifiedError(GradgateError):
    """An attestation does not cover what it is held against. Final.

    Attributes:
        refusals: Every reason, a line each.
    """

    def __init__(self, refusals: list[str]) -> None:
        """Take the reasons, of which there is one at least."""
        super().__init__("; ".join(refusals))
        self.refusals = refusals
