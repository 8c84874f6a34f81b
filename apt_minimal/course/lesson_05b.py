"""Lesson 05b: the layer gate in training."""

import torch

from apt_minimal.course.check import exercise


def plain_rate(scale, lr, optimizer):
    """5.5: the learning rate with which a plain prefix goes the way of a prefix with a fixed λ."""
    size = abs(scale)
    factor = size**2 if optimizer == "sgd" else size
    return lr * factor


def number(found, *given):
    """What was found as a float64 tensor."""
    return torch.as_tensor(found, dtype=torch.float64)


@exercise(plain_rate, look=number)
def check_plain_rate(draw):
    """
    ? How far does one step move P? And how far does it move λ · P?
    ? By gradient descent P moves by lr · λ · g. With Adam P moves by about lr, whatever the size of its gradient.
    ? lr * scale**2 if optimizer == "sgd" else lr * abs(scale)
    a fixed λ does change the rate → return lr
    with gradient descent the factor is λ², with Adam it is |λ|: yours are swapped →
        factor = size if optimizer == "sgd" else size**2
    with gradient descent λ counts twice: in the gradient of P, and in λ · P → factor = size
    with Adam the λ in the gradient cancels → factor = size**2
    a negative λ: P steps the other way, and λ · P steps as before → size = scale
    a large λ makes λ · P move more, not less → return lr / factor
    Adam knows λ through the product λ · P → factor = size**2 if optimizer == "sgd" else 1
    """
    for scale, lr in ((3.0, 0.5), (0.5, 0.5), (-2.0, 0.25), (1.0, 0.5), (-0.25, 4.0)):
        for optimizer in ("sgd", "adam"):
            yield f"λ = {scale} with {optimizer}", scale, lr, optimizer


def dead(key, value, weight, scale):
    """5.6: the names of those whose gradient is 0 on the first step, whatever the loss is."""
    no_prefix = not key.any() and not value.any()
    no_scale = not scale.any()
    of_key = no_scale
    of_value = no_scale
    of_weight = no_scale or no_prefix
    of_scale = no_prefix
    dead = {"key": of_key, "value": of_value, "weight": of_weight, "scale": of_scale}
    return {name for name in dead if dead[name]}


def as_set(found, *given):
    """A list, tuple or frozenset of names as a set."""
    return set(found) if isinstance(found, list | tuple | frozenset) else found


@exercise(dead, look=as_set, pairs=False)
def check_dead(draw):
    """
    ? Each gradient is a product. Which of the four values are factors in it?
    ? λ is a factor in the gradients of P_k, P_v and W; P (keys and values together) in those of W and λ.
    ? Where λ is 0: {"key", "value", "weight"}; where P is 0 in every entry: {"weight", "scale"}.
    these live; the dead ones are asked for → return {name for name in dead if not dead[name]}
    a parameter's own value is no factor in its gradient: being 0 doesn't kill it →
        dead = {"key": not key.any(), "value": not value.any(), "weight": not weight.any(), "scale": no_scale}
    a negative λ is not 0 → no_scale = scale <= 0
    a λ between −1 and 1 is not 0 → no_scale = int(scale) == 0
    a λ of 1e-15 is small, but not 0 → no_scale = abs(scale) < 1e-6
    P that is small is not 0 → no_prefix = torch.allclose(torch.cat([key, value]), torch.tensor(0.0))
    entries that add up to 0 are not all 0 → no_prefix = key.sum() == 0 and value.sum() == 0
    negative is not 0 → no_prefix = key.max() <= 0 and value.max() <= 0
    a largest entry of 0 is not enough: some are negative → no_prefix = key.max() == 0 and value.max() == 0
    a smallest entry of 0 is not enough: some are positive → no_prefix = key.min() == 0 and value.min() == 0
    P_k and P_v are 0 where each is, not where their sum is → no_prefix = not (key + value).any()
    P_k and P_v die: λ is a factor in their gradients → of_key = False; of_value = False
    P_k lives where P_v = 0: a key takes attention from the words → of_key = no_scale or not value.any()
    P_v lives where P_k = 0: a score of 0 has weight → of_value = no_scale or not key.any()
    P = 0 doesn't kill P: it is no factor in its own gradient →
        of_key = no_scale or no_prefix; of_value = no_scale or no_prefix
    λ = 0 kills W: it is a factor in its gradient → of_weight = no_prefix
    P = 0 kills W: it is a factor in its gradient → of_weight = no_scale
    W = 0 doesn't kill W: σ is steepest there → of_weight = no_scale or no_prefix or not weight.any()
    W and λ die only where P_k and P_v are both 0 → no_prefix = not key.any() or not value.any()
    λ = 0 doesn't kill λ: it is no factor in its own gradient → of_scale = no_scale or no_prefix
    P = 0 kills λ: it is a factor in its gradient → of_scale = False
    """
    ones = torch.ones(2, 2)

    def start(zero="", key=ones, value=ones, weight=ones, scale=1.0):
        given = {"key": key, "value": value, "weight": weight, "scale": torch.tensor(scale)}
        return tuple(0 * part if name in zero.split(", ") else part for name, part in given.items())

    two = "key, value|scale, value|scale, key|weight, scale|weight, value"
    for zero in f"|scale|value|key|weight|{two}|scale, key, value|weight, key, value|scale, key, value, weight".split(
        "|"
    ):
        yield f"zeros: {zero or 'none'}", *start(zero)
    top = torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    for tests, part in (
        ("one row of zeros", top),
        ("another row of zeros", top.flip(0)),
        ("one entry that is 0", torch.tensor([[1.0, 0.0], [2.0, 3.0]])),
        ("entries that add up to 0", torch.tensor([[1.0, -1.0], [-1.0, 1.0]])),
        ("negative entries", -ones),
        ("a largest entry of 0", -top),
        ("small entries", 1e-15 * ones),
    ):
        yield tests, *start(key=part, value=part, weight=part)
    yield "P_v = −P_k", *start(value=-ones)
    yield "keys and values that are 0 in turn", *start(key=top, value=top.flip(0))
    for scale in (-1.5, 0.5, 1e-15):
        yield f"λ = {scale}", *start(scale=scale)
