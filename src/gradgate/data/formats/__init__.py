"""The row formats, one a file, and the choice between them."""
