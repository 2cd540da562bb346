"""Files that are not what their name says: pointers, web pages, archives, half downloads."""

from gradgate.errors import DataError

HEAD = 64  # bytes that tell them
_LFS = b"version https://git-lfs.github.com/spec/"
_PAGES = (b"<!doctype html", b"<html")
_MAGIC = {  # the first bytes, what they mean, and the extension that such a file has
    b"PAR1": ("Parquet", ".parquet"),
    b"ARROW1": ("Arrow", ".arrow"),
    b"\x1f\x8b": ("compressed by gzip", ".gz"),
    b"BZh": ("compressed by bzip2", ".bz2"),
    b"\xfd7zXZ\0": ("compressed by xz", ".xz"),
    b"\x28\xb5\x2f\xfd": ("compressed by zstd", ".zst"),
}
_UNFINISHED = (".incomplete", ".part", ".partial", ".crdownload", ".download", ".aria2", ".tmp")
_OTHERS = (
    *(".txt", ".md", ".yaml", ".yml", ".xml", ".html", ".pdf", ".docx", ".xlsx", ".xls", ".ods"),
    *(".pkl", ".pickle", ".npy", ".npz", ".h5", ".hdf5", ".feather", ".orc", ".avro", ".db"),
    *(".sqlite", ".pt", ".bin", ".safetensors", ".gguf", ".log"),
)
_PACKED = (".zip", ".tar", ".tgz", ".7z", ".rar")


def check_head(head: bytes, path: str, suffix: str) -> None:
    """Refuse a file that is something else than data of its kind.

    Args:
        head: Its first `HEAD` bytes, or all of them.
        path: The file as errors name it, without credentials.
        suffix: Its last extension, in small letters.

    Raises:
        DataError: It is a pointer of Git LFS, a web page, an archive, zeros or of another kind.
    """
    if head.startswith(_LFS):
        raise DataError(
            f"{path} is a Git LFS pointer and not the data; run git lfs pull in its folder, or "
            "download the file itself"
        )
    if head.lstrip().lower().startswith(_PAGES):
        raise DataError(
            f"{path} is a web page and not the data; download the file itself (of the hub: "
            "/resolve/ instead of /blob/ in the URL)"
        )
    if head.startswith(b"PK\x03\x04"):
        raise DataError(f"{path} is a zip archive; unpack it, and name a file of it")
    if len(head) == HEAD and not head.strip(b"\0"):
        raise DataError(f"{path} begins with zeros: a download that did not end; get it anew")
    for magic, (what, extension) in _MAGIC.items():
        if head.startswith(magic) and suffix != extension:
            raise DataError(f"{path} is {what}; give its name the extension {extension}")


def unknown_kind(name: str) -> str:
    """What to do with a file whose extension is none of data; "" when there is nothing to say."""
    if name.lower().endswith(_UNFINISHED):
        return "; it looks like a download that did not end: get it anew"
    if name.lower().endswith(_PACKED):
        return "; unpack it, and name a file of it"
    return ""


def is_file_extension(suffix: str) -> bool:
    """Whether an extension, in small letters, is one of documents, tables and archives."""
    return suffix in (*_UNFINISHED, *_PACKED, *_OTHERS)
