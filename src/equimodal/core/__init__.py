"""The four values that flow through a training step, the methods that change them, and the driver."""

from .balanced import Balanced
from .batch import Batch, Input, Padded
from .evaluation import evaluating
from .gradients import TOTAL, Gradients
from .method import Chain, During, Method
from .output import Losses, Output, added
from .step import DataInfo, Epoch, Phase, Step, Verdicts
from .task import TASKS, Classification, Task
from .tokens import TokenEncoder

__all__ = [
    "TASKS",
    "TOTAL",
    "Balanced",
    "Batch",
    "Chain",
    "Classification",
    "DataInfo",
    "During",
    "Epoch",
    "Gradients",
    "Input",
    "Losses",
    "Method",
    "Output",
    "Padded",
    "Phase",
    "Step",
    "Task",
    "TokenEncoder",
    "Verdicts",
    "added",
    "evaluating",
]
