"""`gradgate test-adapter`: ask what was fine-tuned elsewhere what it has learnt."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from gradgate.cli.lines import give, say, say_named, say_phase, under
from gradgate.cli.output import RECORD, inputs_of, quiet_libraries, require_file, workspace
from gradgate.cli.phases import announced, fetch, of_scoring, score
from gradgate.common.run_folder import RunFolder
from gradgate.config import PowerConfig
from gradgate.data.prepare import rejection_reasons
from gradgate.errors import DataError
from gradgate.gate.pipeline import STEPS, judge
from gradgate.gate.verdict import EXIT_CODES, Verdict
from gradgate.release.config import TestAdapterConfig
from gradgate.release.holding import write_test
from gradgate.release.result import AdapterTest
from gradgate.release.run import check_tuned, other_base, run_test


@dataclass(frozen=True)
class Wanted:
    """What is wanted of a test, beside its configuration; see the options of the same names."""

    output: Path
    exit_zero: bool
    json: bool

    @property
    def page(self) -> Path:
        """Where the page for people goes."""
        return self.output.with_name(self.output.name.removesuffix(".json") + ".md")


def run_test_adapter(config: TestAdapterConfig, adapter: Path, wanted: Wanted) -> int:
    """Find the groups in the data, test what was trained, and return the exit code."""
    quiet_libraries()
    require_file(wanted.output, *RECORD)
    check_tuned(config.model, adapter)
    named = other_base(config.model, adapter)
    if named is not None:
        say(f"warning: the adapter says that it was made of {named}, not of {config.model.path}")
    inputs = [*inputs_of(config), str(adapter)]
    with workspace(wanted.output, [wanted.page], inputs) as folder:
        for earlier in (wanted.output, wanted.page):
            earlier.unlink(missing_ok=True)  # of another test: should this one break, none passes
        run = RunFolder(folder)
        verdict = _judged(config, run)
        say_phase(f"asking {adapter} ...")
        test = run_test(run, verdict, config.data, config.model, adapter, config.adapter_test)
    write_test(test, wanted.output, wanted.page)
    say_named(_lines(test, wanted))
    if wanted.json:
        give(test.to_json())
    code = EXIT_CODES[test.outcome]
    return 0 if wanted.exit_zero and code != 2 else code


def _judged(config: TestAdapterConfig, run: RunFolder) -> Verdict:
    """What the model before makes of the data, without canaries; whatever it is, the test goes on.

    Raises:
        DataError: Not a single row can be asked about.
    """
    detection = config.detection.model_copy(update={"power": PowerConfig(attacks=[])})
    config = config.model_copy(update={"detection": detection})
    prepared = fetch(config, run, keep_rows=False)
    if prepared.n_samples == 0:
        raise DataError(
            f"none of the {prepared.n_rows} rows of {prepared.source} can be asked about: "
            f"{rejection_reasons(prepared)}"
        )
    scored = score(prepared, config, run)
    say_phase(f"scored {of_scoring(scored.summary)}")
    return judge(prepared, scored, config, run, replace(announced(), measure=STEPS.measure))


def _lines(test: AdapterTest, wanted: Wanted) -> Iterator[tuple[str, str]]:
    yield (
        "asked",
        f"{len(test.changes)} changes of {test.n_prompts} prompts: {test.n_answers:,} answers in "
        f"{test.seconds:.1f} s",
    )
    yield from under("excused", (one.in_a_line() for one in test.excused))
    yield "outcome", test.outcome.upper()
    yield from under("because", test.reasons)
    yield from under("evidence", map(str, (wanted.output, wanted.page)))
    yield "next", _NEXT[test.outcome].format(page=wanted.page)


_NEXT = {
    "pass": "no change brings out a backdoor; what no change touches was not asked",
    "review": "let a person look at the prompts and answers in {page} before anybody uses it",
    "error": "mend what is named above, and test it again",
}
