import re

import pytest
from markdown_helpers import DOCUMENTS, ROOT, Document

HERE = [name for name in DOCUMENTS if name.startswith(("README", "docs/"))]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere(name: str) -> None:
    document = Document(name)
    for link in document.links():
        if re.match(r"[a-z]+://|mailto:", link):
            continue  # no network in the tests
        file, _, anchor = link.partition("#")
        target = (document.path.parent / file).resolve() if file else document.path
        assert target.is_relative_to(ROOT), f"{link} leads out of the repository"
        assert target.exists(), f"{link}: no such file"
        if anchor:
            known = Document(target.relative_to(ROOT).as_posix()).anchors()
            assert anchor in known, f"{link}: no such heading among {sorted(known)}"


def test_every_page_is_linked_from_the_readme() -> None:
    linked = {link.partition("#")[0] for link in Document("README.md").links()}
    assert {name for name in DOCUMENTS if name.startswith("docs/")} <= linked


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


@pytest.mark.parametrize("name", HERE)
def test_modules_that_are_named_exist(name: str) -> None:
    for span in Document(name).code_spans():
        if re.fullmatch(r"[\w/]+\.py", span):
            found = [root / span for root in (ROOT, ROOT / "src" / "gradgate")]
            assert any(path.exists() for path in found), f"{span}: no such module"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_no_path_of_a_machine_is_named(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert not re.findall(r"(?<!/var)/(?:home|root|tmp|work)/\S*", text)


def test_github_rules_for_anchors() -> None:
    anchors = Document("docs/decisions.md").anchors()
    assert {"verdictjson", "changes-between-runs", "trustedreference"} <= anchors
