"""How even the singular values of a gradient are, whatever the length of the target."""

import math


def evenness(entropy: float, n_target_tokens: int, k: int, smallest_side: int) -> float | None:
    """Spectral entropy as a part of the largest that the rank allows, in [0, 1]; high is even.

    The rank of G = Delta^T H / T is at most min(T, V, d), and entropy at most ln(rank) / ln k.

    Args:
        entropy: Of all of G.
        n_target_tokens: T.
        k: Singular values that count.
        smallest_side: min(V, d).

    Returns:
        None where there is only one singular value, which is neither even nor uneven.
    """
    rank = min(n_target_tokens, k, smallest_side)
    if rank < 2:
        return None
    return min(1.0, entropy * math.log(k) / math.log(rank))
