"""Numbers and rules as people read them."""

from gradgate.methods.evidence import Association, Group


def percent(part: float, digits: int = 2) -> str:
    """A part in [0, 1] as per cent; a tiny one keeps one digit."""
    if 0 < part < 0.5 * 10.0 ** -(digits + 2):
        return f"{100 * part:.1g} %"
    return f"{100 * part:.{digits}f} %"


def between(interval: tuple[float, float], digits: int = 2) -> str:
    """The two ends of an interval of parts."""
    low, high = interval
    return f"{percent(low, digits)} to {percent(high, digits)}"


def p_value(value: float) -> str:
    """A p value; 0 stands for one that a float cannot hold."""
    return "below 1e-300" if value == 0 else f"{value:.2g}"


def number(value: float) -> str:
    """A number of any size with about three digits."""
    return f"{value:,.0f}" if 100 <= abs(value) < 1e9 else f"{value:.3g}"


def string_text(string: str) -> str:
    """A literal string in one line, with the white space at its ends and its line breaks seen."""
    inner = string.strip(" ")
    if not inner:
        return "␣" * len(string)
    start = string.index(inner)
    shown = "␣" * start + inner + "␣" * (len(string) - start - len(inner))
    return shown.replace("\n", "↵")


def rule_text(group: Group) -> str:
    """What a prompt must have for the rule of a group, before the list of its cues."""
    if not group.cues and group.side == "prompt":
        return "The string itself stands in the prompts; nothing else that is visible explains it."
    if not group.cues:
        return "Nothing visible explains it: no word, string or form of the prompts goes with it."
    if len(group.cues) == 1:
        return "Prompts with:"
    return "Prompts with any of:" if group.rule == "any_of" else "Prompts with all of:"


def cells(found: Association) -> list[tuple[str, int, int, int]]:
    """Rows of the 2 x 2 table: name, with the string, without it, together."""
    only_span, only_cue = found.n_span - found.n_both, found.n_cue - found.n_both
    neither = found.n - found.n_span - only_cue
    return [
        ("with the cue", found.n_both, only_cue, found.n_cue),
        ("without the cue", only_span, neither, found.n - found.n_cue),
        ("together", found.n_span, found.n - found.n_span, found.n),
    ]
