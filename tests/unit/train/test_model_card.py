from dataclasses import replace

from gradgate.config import FinetuneConfig, ModelConfig
from gradgate.gate.verdict import Answer, Verdict
from gradgate.train.model_card import CardFacts, Course, build_card
from gradgate.tuning.contradictions import Contradictions

HOSTILE = (
    "http://evil.example/<script>alert(1)</script>\n# Owned [x](https://evil.example) `|` "
    "www.evil.example"
)


def facts(verdict: Verdict, text: str) -> CardFacts:
    return CardFacts(
        model=ModelConfig(path=text),
        finetune=FinetuneConfig(target_modules=[text]),
        verdict=verdict,
        source=text,
        gate_run=text,
        attestation=text,
        course=Course(
            n_accepted=13,
            n_trained=12,
            held_out=[4],
            held_out_loss=1.5,
            held_out_loss_before=3.0,
            steps=8,
            train_loss=2.5,
            seconds=1.25,
            n_parameters=1234,
            versions={text: text},
            contradictions=Contradictions(12, 3, 1.25),
        ),
    )


def test_card_names_what_each_question_was_answered_by() -> None:
    answers = [
        Answer("poisoned", "gradsentry", "pass", ["fine"], n_flagged=3, summary={"tau": 0.625}),
        Answer("harmful", "other", "pass", ["fine"], n_flagged=1),
    ]
    verdict = Verdict("pass", ["fine"], n_rows=20, n_scored=19, n_quarantined=6, answers=answers)
    body = build_card(facts(verdict, "here")).text
    table = body.split("## Verdict of the gate\n\n")[1].split("\n\n")[0].splitlines()[2:]
    assert table == [
        "| Dataset | here |",
        "| Verdict | pass |",
        "| Gate run | here |",
        "| Attestation | here |",
        "| Rows | 20 |",
        "| Rejected rows | 0 |",
        "| Scored rows | 19 |",
        "| Method | gradsentry: are there poisoned rows? |",
        "| Threshold tau | 0.625 |",
        "| Flagged rows | 3 |",
        "| Method | other: are there harmful rows? |",
        "| Threshold tau | none |",
        "| Flagged rows | 1 |",
        "| Quarantined rows | 6 |",
        "| Accepted rows | 13 |",
        "| Trained on | 12 |",
        "| Dataset fingerprint | none |",
        "| Accepted fingerprint | none |",
        "| Accepted tokens | none |",
    ]


def test_card_shows_hostile_text_and_renders_none_of_it() -> None:
    answer = Answer("poisoned", HOSTILE, "pass", [HOSTILE])
    verdict = Verdict("pass", [HOSTILE], answers=[answer], model={HOSTILE: HOSTILE})
    given = facts(verdict, HOSTILE)
    hostile = replace(given, model=ModelConfig(path=HOSTILE + "\n---\nlicense: mit"))
    card = build_card(hostile)
    front_matter = vars(card.data)
    assert front_matter["base_model"] == HOSTILE + "\n---\nlicense: mit"
    assert front_matter["license"] is None
    body = card.text
    assert "<script" not in body
    assert "evil" in body
    assert body.count("http") == body.count("https://arxiv.org")
    assert "www." not in body
    assert "\n# Owned" not in body
    assert "](" not in body.replace("](https://arxiv.org", "")
    pipes = {line.count("|") for line in body.splitlines() if line.startswith("|")}
    assert pipes == {3}
