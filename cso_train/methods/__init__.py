"""The training methods, one file each: what a method trains on, its settings, its trainer and its loss.

To add one, copy ``dpo.py``: write a frozen dataclass over :class:`Method` and add it below. A method of another
package calls :func:`register` before the settings are resolved.
"""

from inspect import get_annotations
from types import FunctionType

from cso_train.methods._base import (
    PAIR_METRICS,
    Kind,
    Loss,
    Method,
    Metrics,
    Reply,
    ReplySet,
    Scores,
    Span,
    log_sigmoid,
    pair_metrics,
    setting,
)
from cso_train.methods.distill import Distill
from cso_train.methods.dpo import DPO
from cso_train.methods.infonca import InfoNCA
from cso_train.methods.ipo import IPO
from cso_train.methods.kto import KTO
from cso_train.methods.nca import NCA
from cso_train.methods.odpo import ODPO
from cso_train.methods.orpo import ORPO
from cso_train.methods.refuel import Refuel
from cso_train.methods.sft import SFT
from cso_train.methods.simpo import SimPO
from mctsdialog._arguments import checked
from mctsdialog.errors import ConfigError, shown

METHODS: dict[str, type[Method]] = {
    each.name: each for each in (SFT, DPO, IPO, SimPO, KTO, ORPO, ODPO, InfoNCA, NCA, Refuel, Distill)
}
"""The methods by name."""


@checked()
def register(method: type[Method]) -> type[Method]:
    """Make a method known by its name; usable as a decorator.

    :raises ConfigError: if another method has the name, or for what is no method, or one whose settings are no fields.
    """
    if not (isinstance(method, type) and issubclass(method, Method) and isinstance(getattr(method, "name", None), str)):
        raise ConfigError(f"a training method is a subclass of Method with a name, not {shown(method)}", field="method")
    settings = [each for each, kind in get_annotations(method).items() if "ClassVar" not in str(kind)]
    if settings and "__dataclass_fields__" not in vars(method):
        reason = f"put @dataclass(frozen=True) above it, for its settings ({', '.join(settings)}) to count"
        raise ConfigError(f"{method.__name__}: {reason}", field="method")
    if METHODS.setdefault(method.name, method) is not method:
        raise ConfigError(f"there is already a training method {method.name!r}")
    return method


__all__ = [
    "DPO",
    "IPO",
    "KTO",
    "METHODS",
    "NCA",
    "ODPO",
    "ORPO",
    "PAIR_METRICS",
    "SFT",
    "Distill",
    "InfoNCA",
    "Kind",
    "Loss",
    "Method",
    "Metrics",
    "Refuel",
    "Reply",
    "ReplySet",
    "Scores",
    "SimPO",
    "Span",
    "log_sigmoid",
    "pair_metrics",
    "register",
    "setting",
]

for _name in __all__:
    if isinstance(_each := globals()[_name], type | FunctionType):
        _each.__module__ = __name__  # where users find it
