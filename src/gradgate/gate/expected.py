"""How many rows have what the owner of the data vouches for."""

import numpy as np

from gradgate.common.run_folder import RunFolder
from gradgate.config import PolicyConfig
from gradgate.data.prepare import SampleFile
from gradgate.data.sample import prompt_and_target
from gradgate.gate.verdict import ExpectedPattern
from gradgate.methods.expected import Expected


def count_expected(run: RunFolder, policy: PolicyConfig) -> list[ExpectedPattern]:
    """Count the rows that each pattern of the policy matches, in prompt or target.

    Raises:
        ConfigError: A pattern takes too long on a text.
        DataError: samples.parquet cannot be read.
    """
    if not policy.expected:
        return []
    expected = Expected.of(policy.expected)
    n_rows = np.zeros(len(policy.expected), np.int64)
    for sample in SampleFile(run.samples):
        prompt, target = prompt_and_target(sample)
        n_rows += np.logical_or(expected.holds(prompt), expected.holds(target))
    return [
        ExpectedPattern(pattern, int(n)) for pattern, n in zip(policy.expected, n_rows, strict=True)
    ]
