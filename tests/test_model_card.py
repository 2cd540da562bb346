from gradgate.config import LoraConfig, ModelConfig
from gradgate.model_card import CardFacts, build_card
from gradgate.verdict import Verdict

HOSTILE = (
    "http://evil.example/<script>alert(1)</script>\n# Owned [x](https://evil.example) `|` "
    "www.evil.example"
)


def test_card_shows_hostile_text_and_renders_none_of_it() -> None:
    hostile = CardFacts(
        model=ModelConfig(path=HOSTILE + "\n---\nlicense: mit"),
        lora=LoraConfig(target_modules=[HOSTILE]),
        verdict=Verdict("pass", [HOSTILE], model={HOSTILE: HOSTILE}),
        source=HOSTILE,
        gate_run=HOSTILE,
        n_accepted=13,
        steps=8,
        train_loss=2.5,
        seconds=1.25,
        n_parameters=1234,
        versions={HOSTILE: HOSTILE},
    )
    card = build_card(hostile)
    assert card.data.base_model == HOSTILE + "\n---\nlicense: mit"
    assert card.data.license is None
    body = card.text
    assert "<script" not in body
    assert "evil" in body
    assert body.count("http") == body.count("https://arxiv.org")
    assert "www." not in body
    assert "\n# Owned" not in body
    assert "](" not in body.replace("](https://arxiv.org", "")
    pipes = {line.count("|") for line in body.splitlines() if line.startswith("|")}
    assert pipes == {3}
