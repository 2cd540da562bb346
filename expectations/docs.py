"""Data Docs that work offline: one page a suite and an index over the suites of the folder.

Great Expectations renders the sections. Its own site builder is not used: its pages load scripts,
styles and a logo with the context's id from six hosts, its index is empty without them, and it
puts unexpected values into the HTML unescaped.
"""

import copy
import json
from datetime import UTC, datetime
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from great_expectations.core import ExpectationSuiteValidationResult
from great_expectations.render.renderer.page_renderer import ValidationResultsPageRenderer
from great_expectations.render.view import DefaultJinjaSectionView

from expectations.fraction_limits import observed_fraction


def write_docs(
    results: ExpectationSuiteValidationResult, record: dict[str, Any], folder: Path
) -> None:
    """Write `<suite>.html`, `records/<suite>.json` and an `index.html` over all of `records/`.

    Args:
        results: The evaluated suite.
        record: The same in plain JSON values.
        folder: Made when missing; pages of other suites in it are kept and listed.
    """
    kept = folder / "records"
    kept.mkdir(parents=True, exist_ok=True)
    suite = record["suite_name"]
    record = {**record, "validated": datetime.now(UTC).isoformat()}
    (kept / f"{suite}.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    page = f'<p><a href="index.html">All suites</a></p>{_summary(record)}{_sections(results)}'
    (folder / f"{suite}.html").write_text(_page(suite, page), encoding="utf-8")
    records = [json.loads(path.read_text(encoding="utf-8")) for path in kept.glob("*.json")]
    records.sort(key=lambda record: record["validated"])
    (folder / "index.html").write_text(
        _page("Data Docs", "".join(map(_index_entry, records))), encoding="utf-8"
    )


def _sections(results: ExpectationSuiteValidationResult) -> str:
    document = ValidationResultsPageRenderer().render(_escaped(results))
    rendered = [
        _view().render({"section": section.to_json_dict(), "section_loop": {"index": number}})
        for number, section in enumerate(document.sections[1:], start=1)  # 0 is the overview
    ]
    return "".join(rendered)


@cache
def _view() -> DefaultJinjaSectionView:
    """The view is kept, for each compiles its templates anew."""
    return DefaultJinjaSectionView()


def _escaped(results: ExpectationSuiteValidationResult) -> ExpectationSuiteValidationResult:
    """A copy in which no text of the data is markup; the templates do not escape it."""
    safe = copy.deepcopy(results)
    for result in safe.results:
        result.result = _escape_texts(result.result)
    return safe


def _escape_texts(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _escape_texts(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_escape_texts(item) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return escape(str(value))


def _summary(record: dict[str, Any]) -> str:
    counts = record["statistics"]
    status = _status(record["success"])
    met = f"{counts['successful_expectations']} of {counts['evaluated_expectations']}"
    time = f"{datetime.fromisoformat(record['validated']):%Y-%m-%d %H:%M:%S} UTC"
    return f"<p>{status} &middot; {met} expectations met &middot; {time}</p>"


def _index_entry(record: dict[str, Any]) -> str:
    suite = escape(record["suite_name"])
    rows = "".join(map(_index_row, record["results"]))
    return (
        f'<h2><a href="{suite}.html">{suite}</a></h2>{_summary(record)}<table class="table">'
        f"<thead><tr><th>Status</th><th>Expectation</th><th>Observed</th></tr></thead>"
        f"<tbody>{rows}</tbody></table>"
    )


def _index_row(result: dict[str, Any]) -> str:
    config = result["expectation_config"]
    expected = escape(config.get("description") or config["type"])
    observed = escape(_observed(result["result"], config["kwargs"]))
    return f"<tr><td>{_status(result['success'])}</td><td>{expected}</td><td>{observed}</td></tr>"


def _observed(result: dict[str, Any], limits: dict[str, Any]) -> str:
    fraction = observed_fraction(result, limits)
    if fraction is not None:
        return fraction
    if "observed_value" in result:
        return str(result["observed_value"])
    return f"{result['unexpected_count']} of {result['element_count']} rows fail"


def _status(success: bool) -> str:
    return '<b class="text-success">passed</b>' if success else '<b class="text-danger">FAILED</b>'


def _page(title: str, body: str) -> str:
    return _SHELL.replace("$TITLE", escape(title)).replace("$BODY", body)


# The policy is a second lock: no script runs and nothing is fetched, whatever the body holds.
_SHELL = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$TITLE - gradgate</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 62rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin: 2rem 0 0; }
h5 { font-size: 1rem; margin: 1.5rem 0 .3rem; }
a { color: #0b5cad; }
table { border-collapse: collapse; width: 100%; }
table table { width: auto; margin: .5rem 0; }
th, td { text-align: left; vertical-align: top; padding: .35rem .6rem;
  border-bottom: 1px solid #ddd; overflow-wrap: anywhere; }
th:first-child { width: 5rem; } th:last-child { width: 35%; }
table table th:first-child { width: auto; min-width: 12rem; }
.badge { background: #eee; border-radius: 3px; padding: 0 .3rem; }
.text-success { color: #187a2f; } .text-danger { color: #b3261e; }
.fa-check-circle::before { content: "\\2713"; } .fa-times::before { content: "\\2717"; }
.fas { font-style: normal; font-weight: bold; }
</style></head><body><h1>$TITLE</h1>$BODY</body></html>
"""
