"""What `help` and editors without a type checker show of methods that are made of operations."""

import inspect
from collections.abc import Callable
from functools import wraps
from inspect import Parameter
from typing import Any, get_args


def presented[M: Callable[..., object]](operation: Callable[..., object], *, within: Any = None) -> Callable[[M], M]:
    """Give a method the name, the words and the parameters of an operation, with each that it takes by name.

    It returns what the operation comes to, or the generic type `within` of that.
    """
    signature = inspect.signature(operation)
    (result,) = get_args(signature.return_annotation)
    _, *parameters = signature.parameters.values()
    shown = [Parameter("self", Parameter.POSITIONAL_ONLY)]
    for parameter in parameters:
        if parameter.kind is Parameter.VAR_KEYWORD:
            (fields,) = get_args(parameter.annotation)  # Unpack of a TypedDict
            shown += [
                Parameter(name, Parameter.KEYWORD_ONLY, default=..., annotation=type_)
                for name, type_ in fields.__annotations__.items()
            ]
        else:
            shown.append(parameter)

    def present(method: M) -> M:
        wraps(operation)(method)
        method.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=shown, return_annotation=within[result] if within else result
        )
        return method

    return present
