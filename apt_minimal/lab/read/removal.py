"""A prefix, or some of its tokens, truly removed for a while: gone from the softmax, not only scaled to zero."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor

from apt_minimal.prefix import AdaptivePrefix


@contextmanager
def removed(prefix: AdaptivePrefix | None, tokens: Sequence[int] | None = None) -> Iterator[None]:
    """Truly remove one layer's prefix, or some of its tokens, while the context is open.

        with removed(prefixes(model)[3], tokens=[0, 5]):
            model(**batch)

    The prefix hands over only the tokens that are kept, and its host makes room for just these: in an attached model
    and in our `Encoder` alike. The other tokens and their gates stay as they are. (`record` meanwhile tells α of all
    tokens, and the mass of those that are left.)

    Args:
        prefix: one of `prefixes(model)`.
        tokens: counted from 0; None: all.

    Raises:
        ValueError: no prefix, no such token, or (in the forward pass) tokens of this prefix are removed already.
    """
    if prefix is None:
        raise ValueError("this layer has no prefix, so there is nothing to remove")
    length = len(prefix.key)
    gone = set(range(length) if tokens is None else tokens)
    if not gone <= set(range(length)):
        raise ValueError(f"tokens are {sorted(gone)}; this prefix has tokens 0 to {length - 1}")
    kept = [token for token in range(length) if token not in gone]

    def keep(prefix: AdaptivePrefix, args: tuple, pair: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        if pair[0].shape[1] != length:  # the tokens' numbers would not mean what they say
            raise ValueError("tokens of this prefix are removed already; name all of them in one removed(...)")
        return pair[0][:, kept], pair[1][:, kept]

    hook = prefix.register_forward_hook(keep)
    try:
        yield
    finally:
        hook.remove()
