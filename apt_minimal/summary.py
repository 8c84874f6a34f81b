"""An attached model at a glance."""

from torch import nn

from apt_minimal.attach import attached_encoder, prefixes


def summary(model: nn.Module) -> str:
    """A table of an attached model's prefixes, one row per layer, and how much of the model is trained.

        >>> print(summary(model))                                                   # doctest: +SKIP
        layer  tokens  α                λ       parameters
            1      16  first_token      1.000       18,433
        …
        110,598 of 22,824,198 parameters are trained: 0.48 %

    Raises:
        ValueError: nothing is attached.
    """
    lines = [f"{'layer':>5}  {'tokens':>6}  {'α':<12}  {'λ':>7}  {'parameters':>12}"]
    for number, prefix in enumerate(prefixes(model), start=1):
        if prefix is None:
            lines.append(f"{number:>5}  {0:>6}  {'–':<12}  {'–':>7}  {0:>12,}")
            continue
        gate = getattr(getattr(prefix, "token_gate", None), "gate_input", "–")
        scale = "–" if prefix.layer_gate is None else f"{prefix.layer_gate().item():.3f}"
        count = sum(parameter.numel() for parameter in prefix.parameters())
        lines.append(f"{number:>5}  {prefix.key.shape[0]:>6}  {gate:<12}  {scale:>7}  {count:>12,}")
    sizes = {id(p): (p.numel(), p.requires_grad) for p in (*model.parameters(), *attached_encoder(model).parameters())}
    trained, every = sum(n for n, grad in sizes.values() if grad), sum(n for n, _ in sizes.values())
    lines.append(f"{trained:,} of {every:,} parameters are trained: {100 * trained / every:.2f} %")
    return "\n".join(lines)
