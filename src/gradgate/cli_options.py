"""The options that several commands share; each command says its own defaults."""

from pathlib import Path
from typing import Annotated, Literal

import typer

SourceArgument = Annotated[str, typer.Argument(help="Hub id, file, folder or fsspec URL.")]
ModelOption = Annotated[str, typer.Option(help="Hub id or folder of a causal language model.")]
ScoreTableOption = Annotated[Path, typer.Option(help="Parquet file to write.")]

DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
DtypeOption = Annotated[Literal["auto", "float32", "bfloat16"], typer.Option()]
AdapterOption = Annotated[str | None, typer.Option(help="LoRA adapter to load.")]
ModelRevisionOption = Annotated[str | None, typer.Option(help="Branch, tag or commit.")]

NameOption = Annotated[str | None, typer.Option(help="Hub dataset: configuration.")]
SplitOption = Annotated[str | None, typer.Option(help="Hub dataset or save_to_disk: split.")]
RevisionOption = Annotated[str | None, typer.Option(help="Hub dataset: branch, tag or commit.")]
MaxTokensOption = Annotated[int, typer.Option(help="Longer samples are rejected.")]

StoreOption = Annotated[
    bool, typer.Option(help="Keep scores, and score only what is new or changed.")
]
