"""Options from the fields of a configuration, on a command that only keeps what it is given."""

from pathlib import Path

import pytest
from cyclopts import App
from pydantic import BaseModel

from gradgate.attacks.config import PoisonConfig
from gradgate.cli.main import main
from gradgate.cli.options import ALIASES, configured
from gradgate.cli.running import run
from gradgate.compare.config import CompareConfig
from gradgate.config import Section, load_config
from gradgate.config.drawing import DrawConfig
from gradgate.drill.config import DrillConfig
from gradgate.gate.config import GateConfig
from gradgate.release.config import TestAdapterConfig as AskedConfig
from gradgate.scoring.config import ScoreConfig
from gradgate.train.config import GatedFinetuneConfig

REQUIRED = ["--data.source", "x", "--model.path", "m"]


class Command:
    """An app with one command, and the configuration that it got last."""

    def __init__(self, model: type[GateConfig] = GateConfig, positional: str = "data.source"):
        self.app = App(name="test", suppress_keyboard_interrupt=False)
        self.config: GateConfig | None = None
        self.app.default(configured(model, positional, {"scoring.store_max_mib": None})(self.keep))

    def keep(self, config: GateConfig) -> int:
        self.config = config
        return 0

    def __call__(self, *arguments: object) -> int:
        self.config = None
        return run(self.app, [str(argument) for argument in arguments])

    def given(self, *arguments: object) -> GateConfig:
        assert self(*arguments) == 0
        assert self.config is not None
        return self.config


@pytest.fixture
def command() -> Command:
    return Command()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "gate.yaml"
    path.write_text(
        "data: {source: of the file, revision: main}\n"
        "model: {path: m}\n"
        "scoring: {k: 8, store_max_mib: 10}\n"
        "policy: {max_poison_fraction: 0.5}\n"
    )
    return path


def test_an_option_goes_before_the_file_and_the_file_before_the_defaults(
    command: Command, file: Path
) -> None:
    config = command.given("--config", file, "--scoring.k", 4, "--data.source", "typed")
    assert (config.scoring.k, config.data.source, config.data.revision) == (4, "typed", "main")
    assert config.scoring.store_max_mib == 10
    assert (config.policy.max_poison_fraction, config.policy.review_above) == (0.5, 0.02)
    assert command.given("--config", file) == load_config(file, GateConfig)


def test_what_nobody_says_is_the_default_of_command_or_field(command: Command) -> None:
    config = command.given(*REQUIRED)
    plain = GateConfig.model_validate({"data": {"source": "x"}, "model": {"path": "m"}})
    assert config.scoring.store_max_mib is None
    assert config.model_copy(update={"scoring": plain.scoring}) == plain


def test_the_source_needs_no_name(command: Command, file: Path) -> None:
    assert command.given("typed", "--config", file).data.source == "typed"
    assert command.given("--config", file, "typed").data.source == "typed"


def test_a_file_needs_no_name_where_it_comes_first(file: Path) -> None:
    finetune = Command(GatedFinetuneConfig, "config")
    typed = ("--finetune.learning_rate", "1e-5", "--finetune.target_modules", "[q, v]")
    config = finetune.given(file, *typed)
    assert isinstance(config, GatedFinetuneConfig)
    assert config.data.source == "of the file"
    assert (config.finetune.learning_rate, config.finetune.target_modules) == (1e-5, ["q", "v"])
    config = finetune.given(file, "--finetune.target_modules", "all-linear")
    assert isinstance(config, GatedFinetuneConfig)
    assert config.finetune.target_modules == "all-linear"


def test_every_field_is_an_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert Command(DrillConfig)("--help-all") == 0
    shown = "".join(word for word in capsys.readouterr().out.split() if word != "│")

    def check(model: type[BaseModel], path: str) -> int:
        n = 0
        for name, info in model.model_fields.items():
            inner = info.annotation
            if path == "data" and name == "columns":
                from gradgate.config import Columns as inner  # noqa: N813 - it may be absent
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                n += check(inner, f"{path}{name}.")
            else:
                assert f"--{path}{name}" in shown or f".{name}" in shown, f"{path}{name}"
                n += 1
        return n

    assert check(DrillConfig, "") > 50


@pytest.mark.parametrize(("path", "alias"), ALIASES.items())
def test_every_alias_names_a_field_that_is_there(path: str, alias: str) -> None:
    fields: dict[str, type[BaseModel]] = {
        name: info.annotation
        for model in (CompareConfig, DrawConfig, GateConfig, PoisonConfig)
        for name, info in model.model_fields.items()
        if isinstance(info.annotation, type)
    }
    section, _, name = path.partition(".")
    assert name in fields[section].model_fields
    assert alias.startswith("--")


@pytest.mark.parametrize(
    ("typed", "path", "value"),
    [
        (["--data.revision", "1.0"], "data.revision", "1.0"),
        (["--data.revision", "null"], "data.revision", "null"),
        (["--revision=12e4"], "data.revision", "12e4"),
        (["--data.columns.prompt", "q"], "data.columns.prompt", "q"),
        (["--data.max-tokens", "64"], "data.max_tokens", 64),
        (["--data.max_tokens", "64"], "data.max_tokens", 64),
        (["--max-tokens", "64"], "data.max_tokens", 64),
        (["--mode", "full"], "scoring.mode", "full"),
        (["--batch-tokens", "null"], "scoring.batch_tokens", None),
        (["--no-store"], "scoring.store", False),
        (["--store"], "scoring.store", True),
        (["--scoring.store=false"], "scoring.store", False),
        (["--policy.review_above", "1e-3"], "policy.review_above", 1e-3),
        (["--policy.review_above", "0"], "policy.review_above", 0),
        (["--methods", "gradgate"], "detection.methods", ["recurrence"]),
        (["--methods", "[gradsentry]"], "detection.methods", ["gradsentry"]),
        (["--method", "gradsentry"], "detection.methods", ["gradsentry"]),
        (["--detection.method", "gradsentry"], "detection.methods", ["gradsentry"]),
        (["--policy.expected", "Yours, Ada"], "policy.expected", ["Yours, Ada"]),
        (["--reference", "[a].jsonl"], "detection.reference", "[a].jsonl"),
        (["--detection.power.attacks", "[badnets, cba]"], "detection.power.attacks", None),
        (["--detection.power.attacks", '["badnets", "cba"]'], "detection.power.attacks", None),
        (
            ["--detection.gradsentry.without_valley", "{no_valley: published_constant}"],
            "detection.gradsentry.without_valley",
            {"no_valley": "published_constant"},
        ),
    ],
)
def test_values(command: Command, typed: list[str], path: str, value: object) -> None:
    found: object = command.given(*REQUIRED, *typed)
    for name in path.split("."):
        found = getattr(found, name)
    assert found == (["badnets", "cba"] if path.endswith("attacks") else value)


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["--scoring.k", "1"], "--scoring.k: Input should be greater than or equal to 2, not 1"),
        (["--k", "1.0"], "--scoring.k: Input should be a valid integer, not 1.0"),
        (["--scoring.k", "-4"], "--scoring.k: Input should be greater than or equal to 2, not -4"),
        (["--scoring.k", "yes"], "--scoring.k: Input should be a valid integer, not True"),
        (["--scoring.k", "'4'"], "--scoring.k: Input should be a valid integer, not '4'"),
        (
            ["--policy.review_above", "nan"],
            "--policy.review_above: Input should be a finite number",
        ),
        (["--policy.review_above", "some"], "valid number, not 'some'"),
        (["--policy.review_above", "0.5"], "must not be larger than policy.max_poison_fraction"),
        (["--detection.power.attacks", "badnets"], "--detection.power.attacks: Input should be"),
        (["--detection.power.attacks", "[badnet]"], "detection.power.attacks.0: Input should be"),
        (["--detection.power.attacks", "[badnets"], "--detection.power.attacks: '[badnets' is not"),
        (
            ["--detection.gradsentry.without_valley", "{no_vally: pass}"],
            "--detection.gradsentry.without_valley.no_vally.[key]: Input should be 'too_few',",
        ),
        (
            ["--detection.gradsentry.without_valley", "{no_valley: pass, no_valley: fail}"],
            "given twice: no_valley",
        ),
        (
            ["--method", "gradguard"],
            "--detection.methods: there is no method 'gradguard'; the known",
        ),
        (["--scoring.threshold", "1"], "Unknown option: --scoring.threshold"),
        (["--data.source", "y"], "multiple times"),
    ],
)
def test_what_is_wrong_is_one_line(
    command: Command, capsys: pytest.CaptureFixture[str], typed: list[str], message: str
) -> None:
    assert command(*REQUIRED, *typed) == 2
    out, err = capsys.readouterr()
    assert command.config is None
    assert message in err
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("error: ")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "policy: {max_poisn_fraction: 0.1}",
            "gate.yaml: policy.max_poisn_fraction is unknown; the known ones there are "
            "max_poison_fraction, review_above, max_harmful_fraction, harmful_review_above, "
            "flagged",
        ),
        ("detection: {gradsentri: {}}", "gradsentri is unknown; the known ones there are method"),
        ("polcy: {}", "polcy is unknown; the known ones there are data, model, scoring"),
        ("policy: {max_poison_fraction: '0.1'}", "policy.max_poison_fraction: Input should be"),
        ("scoring: {k: 8, k: 9}", "given twice: k"),
        ("- 1", "holds no sections but list"),
        ("scoring: 5", "scoring is no section but 5"),
        ("policy: 5", "policy is a section, and not 5; its settings stand in it: policy.max_poiso"),
        ("detection: {gradsentry: x}", "detection.gradsentry is a section, and not 'x'; its"),
        ("policy: [", "gate.yaml: while parsing a flow node"),
        ("policy:\n\tflagged: drop", "cannot start any token at line 2, column 1"),
        ("tracking: {uri: 1}", "gate.yaml: tracking.uri: Input should be a valid string, not 1"),
    ],
)
def test_what_is_wrong_in_the_file_is_named_with_the_file(
    command: Command,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    content: str,
    message: str,
) -> None:
    (tmp_path / "gate.yaml").write_text(content)
    assert command(*REQUIRED, "--config", tmp_path / "gate.yaml", "--scoring.mode", "full") == 2
    err = capsys.readouterr().err
    assert message in err
    assert str(tmp_path / "gate.yaml") in err or "no section" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("section", "taker", "takes"),
    [
        ("finetune", "`python -m flows gated-finetune`", GatedFinetuneConfig),
        ("adapter_test", "`python -m flows gated-finetune`", GatedFinetuneConfig),
        ("adapter_test", "`gradgate test-adapter`", AskedConfig),
        ("compare", "`gradgate compare`", CompareConfig),
        ("draw", "`gradgate draw`", DrawConfig),
        ("poison", "`gradgate poison`", PoisonConfig),
        ("drill", "`python -m flows drill`", DrillConfig),
    ],
)
def test_a_section_of_another_command_names_that(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    section: str,
    taker: str,
    takes: type[Section],
) -> None:
    file = tmp_path / "gate.yaml"
    file.write_text(f"data: {{source: x}}\nmodel: {{path: m}}\n{section}: {{}}\n")
    assert main(["detect", "--config", str(file), "--output", str(tmp_path / "flags")]) == 2
    err = capsys.readouterr().err
    assert f"{section} is unknown; it is for " in err
    assert taker in err
    assert err.count("\n") == 1
    assert section in takes.model_fields


def test_what_is_missing_is_named(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert command() == 2
    assert capsys.readouterr().err == (
        "error: --source, or the first argument, is missing; --model is missing\n"
    )
    assert command("--device", "cpu") == 2
    assert "--model is missing" in capsys.readouterr().err


def test_an_empty_file_says_nothing(command: Command, tmp_path: Path) -> None:
    (tmp_path / "gate.yaml").write_text("")
    assert command.given(*REQUIRED, "--config", tmp_path / "gate.yaml").model.path == "m"


def test_a_missing_file_is_named(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(*REQUIRED, "--config", "none.yaml") == 2
    said = "error: cannot read the configuration none.yaml: No such file or directory\n"
    assert capsys.readouterr().err == said


def test_an_absent_section_of_the_file_takes_options(command: Command, tmp_path: Path) -> None:
    """And what the file says twice by an anchor is changed in one place alone."""
    (tmp_path / "gate.yaml").write_text(
        "data: {source: x, columns: null}\nmodel: &m {path: m}\npolicy: {review_above: 0.01}\n"
    )
    columns = ["--data.columns.prompt", "q", "--data.columns.completion", "a"]
    config = command.given("--config", tmp_path / "gate.yaml", *columns)
    assert config.data.columns is not None
    assert (config.data.columns.prompt, config.data.columns.completion) == ("q", "a")


def test_credentials_are_not_repeated(
    command: Command, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "gate.yaml").write_text("scoring: {mode: 'https://me:secret@host/x'}\n")
    assert command(*REQUIRED, "--config", tmp_path / "gate.yaml") == 2
    err = capsys.readouterr().err
    assert "scoring.mode" in err
    assert "secret" not in err


def test_a_scoring_run_knows_no_gate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    app = App(name="test")
    app.default(configured(ScoreConfig, "data.source")(lambda config: 0))
    assert run(app, [*REQUIRED, "--policy.review_above", "0.1"]) == 2
    assert "Unknown option: --policy.review_above" in capsys.readouterr().err
