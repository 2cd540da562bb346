import pytest

from gradgate.common.redaction import redacted


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("https://me:secret@host/d.csv", "https://***@host/d.csv"),
        ("s3://key:sec@ret@bucket/d", "s3://***@bucket/d"),
        ("simplecache::https://me:s@h/d?sig=1&x=2", "simplecache::https://***@h/d?***"),
        ("https://host/d.csv?X-Amz-Signature=1", "https://host/d.csv?***"),
        ("postgresql://u:pa/ss@host/db", "postgresql://***@host/db"),
        ("postgresql://svc@tenant:pa/ss@host/db", "postgresql://***@host/db"),
        ("org/name", "org/name"),
        ("/data/a@b?c.json", "/data/a@b?c.json"),
        ("sqlite:////a@b/m.db", "sqlite:////a@b/m.db"),
        ("What? See http://h/?q=1 and ask?", "What? See http://h/?*** and ask?"),
    ],
)
def test_credentials_of_urls_are_replaced(text: str, clean: str) -> None:
    assert redacted(text) == clean
