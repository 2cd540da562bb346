"""What no method here can see, whatever the data."""

from gradgate.methods.contract import Question

OUT_OF_REACH = (
    "out of reach whatever the data: traits that pass on through data that say nothing about them "
    "(subliminal learning), triggers in what a prompt means rather than in how it is written, and "
    "clean-label poison without a surprising cue"
)


def blind_spots(question: Question) -> list[str]:
    """The note that goes with the answer to a question."""
    return [OUT_OF_REACH] if question == "poisoned" else []
