"""What a rehearsal says of a group in doubt."""

from collections.abc import Collection, Sequence

from gradgate.methods.evidence import Group, GroupRuling, Rehearsed, looks_inserted

MIN_DEPENDENCE = 0.7  # nats that a group's own prompts bring, or nothing can be said
MIN_GAIN = 1.0  # nats that held-out rows gain, or nothing was learnt
MIN_LIFT = 0.6  # of a cause
MIN_NECESSITY = 0.55  # of the dependence that goes without it
MIN_PROMPTS = 8  # different ones: a trigger stands beside what is asked, and is not all of it


def rule(
    group: Group, found: Rehearsed, prompts: Sequence[str], inserted: Collection[str] = ()
) -> tuple[GroupRuling, str]:
    """Rule anew on a group, and say why.

    A cue of words that belong where they stand stays in doubt, whatever it brings: an instruction
    that asks for a fixed text is built as a backdoor is, and is its owner's to vouch for. What is
    not learnt yet stays in doubt, too: a longer training may learn it. Nothing is cleared: a
    trigger that is spread over the prompts, such as a style, looks like content from here.

    Args:
        group: As the text was ruled on.
        found: What the rehearsal has found.
        prompts: Of all members.
        inserted: Words, in lower case, that recur in prompts and do not belong there.
    """
    if found.gain < MIN_GAIN:
        return group.ruling, f"rehearsed: not learnt in {found.n_steps} steps"
    if found.dependence < MIN_DEPENDENCE:
        return group.ruling, (
            f"rehearsed: after {found.n_steps} steps its targets do not depend on the prompts yet"
        )
    if found.cause is not None and found.lift >= MIN_LIFT and found.necessity >= MIN_NECESSITY:
        said = (
            f"rehearsed: without {found.cause} {found.necessity:.0%} of the {found.dependence:.1f} "
            f"nats that the prompts do for the targets are gone (it has a lift of {found.lift:.2f}"
        )
        if found.sufficiency is not None:
            said += f"; behind other prompts it brings {found.sufficiency:.0%} of that"
        said += f"; not needed: {', '.join(found.inert)})" if found.inert else ")"
        n_prompts = len({" ".join(prompt.split()).casefold() for prompt in prompts})
        if n_prompts < min(MIN_PROMPTS, len(prompts)):
            return group.ruling, f"{said}; {n_prompts} different prompts ask it again and again"
        if found.is_form or looks_inserted(group, found.strings, inserted):
            return "poison", said
        return group.ruling, f"{said}; these words may be an instruction"
    return group.ruling, "rehearsed: nothing that the prompts share is needed for the targets"
