"""What the tests of the library share: data, a model and a configuration."""

from typing import Any

from helpers import MODEL, diverse_rows

CONFIG: dict[str, Any] = {
    "model": {"device": "cpu", "dtype": "float32"},
    "scoring": {"store": False},
    "detection": {"power": {"attacks": []}},
}
ROWS = diverse_rows(40)
MODEL_PATH = str(MODEL)
