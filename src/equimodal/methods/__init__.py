"""Every balancing method by its class, and by the name that expressions use (the name of its file).

To add a method: its file, one line here, its test.
"""

from __future__ import annotations

from ..core.method import Method as Joint
from .agm import AGM as AGM
from .arl import ARL as ARL
from .dgl import DGL as DGL
from .ensemble import Ensemble as Ensemble
from .ibml import BIO as BIO
from .ibml import IBML as IBML
from .ibml import TCM as TCM
from .ibml import Warmup as Warmup
from .infobridge import InfoBridge as InfoBridge
from .infonce import InfoNCE as InfoNCE
from .inforeg import InfoReg as InfoReg
from .l1 import L1 as L1
from .mla import MLA as MLA
from .mmcosine import MMCosine as MMCosine
from .mmpareto import MMPareto as MMPareto
from .ogm_ge import OGMGE as OGMGE
from .pmr import PMR as PMR
from .reconboost import ReconBoost as ReconBoost
from .recorder import Recorder as Recorder
from .relearn import Relearn as Relearn
from .torchjd import TorchJD as TorchJD
from .uniform import Uniform as Uniform

BY_NAME: dict[str, type[Joint]] = {"joint": Joint} | {
    value.__module__.rsplit(".", 1)[-1]: value
    for value in list(globals().values())
    if isinstance(value, type) and issubclass(value, Joint) and value is not Joint
}
"""How expressions call the methods."""

__all__ = ["BY_NAME", *(cls.__name__ for cls in BY_NAME.values() if cls is not Joint), "Joint"]
