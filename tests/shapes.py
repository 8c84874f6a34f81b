"""Hold the annotated shapes of attention, gates and prefix against every call that the tests make."""

import functools
import inspect
import sys

import torch
from beartype import beartype
from jaxtyping import jaxtyped

from apt_minimal import attention, gates, prefix


def check_shapes():
    """Replace what the three modules define by functions that check arguments and results, wherever it was imported."""
    package = [module for name, module in sys.modules.items() if name.startswith("apt_minimal")]
    for module in (attention, gates, prefix):
        for name, defined in list(vars(module).items()):
            if getattr(defined, "__module__", None) != module.__name__:
                continue
            if inspect.isfunction(defined):
                for user in package:
                    if vars(user).get(name) is defined:
                        setattr(user, name, _checked(defined))
            elif inspect.isclass(defined) and issubclass(defined, torch.nn.Module):
                for method, function in list(vars(defined).items()):
                    if inspect.isfunction(function):
                        setattr(defined, method, _checked(function))


def _checked(function):
    if "jaxtyping" not in str(inspect.get_annotations(function)):
        return function
    checking = jaxtyped(function, typechecker=beartype)

    @functools.wraps(function)
    def either(*args, **kwargs):
        # A compiler would break its graph at the checks.
        return (function if torch.compiler.is_compiling() else checking)(*args, **kwargs)

    return either
