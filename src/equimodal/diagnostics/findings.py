"""What a diagnosis found: figures with intervals, as plain values that JSON can hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .answers import Absence
from .conditional import Conditional
from .information import Decomposition, Distribution
from .intervals import LEVEL, Interval

__all__ = [
    "Cloud",
    "Curve",
    "Diagnosis",
    "Geometry",
    "Information",
    "Interaction",
    "Map",
    "Pair",
    "Potential",
    "Robustness",
    "Sentence",
    "Subset",
    "Use",
]

VERSION = 1


@dataclass(frozen=True)
class Subset:
    """A model that sees some modalities only."""

    modalities: tuple[str, ...]
    accuracy: Interval
    log_likelihood: Interval


@dataclass(frozen=True)
class Use:
    """How much the model uses a modality; accuracies are fractions, log-likelihoods nats per sample.

    Attributes:
        shapley_accuracy, shapley_log_likelihood: its share of what the model gains over knowing nothing; where modalities can be
            missing this is knowing how frequent the classes are, see `guess`.
        leave_one_out: what accuracy loses without it.
        add_one_in: what accuracy gains by it only.
        decoupled: accuracy of its own logits, on the samples that have it; None where the model has none.
        by_class: for each class its Shapley value of accuracy on samples of that class.
        sampling_error: standard error from sampling orders, of the Shapley value of accuracy; 0 where it is exact.
        by_sample: how the Shapley value of log-likelihood is spread over samples; its mean is `shapley_log_likelihood`.
    """

    shapley_accuracy: Interval
    shapley_log_likelihood: Interval
    leave_one_out: Interval
    add_one_in: Interval
    decoupled: Interval | None
    by_class: Mapping[str, Interval | None]
    sampling_error: float
    by_sample: Distribution | None = None


@dataclass(frozen=True)
class Interaction:
    """How much more two modalities give together than the sum of what each gives; below zero where they overlap."""

    first: str
    second: str
    accuracy: Interval


@dataclass(frozen=True)
class Potential:
    """How much a modality could give; accuracies on the samples that have it, None where it was not measured.

    Attributes:
        probe: of a linear probe of its frozen features.
        unused: what the probe is above the decoupled accuracy: in the features, not in the prediction.
        adds: what its features add to a linear probe of those of all others.
        alone: of the modality trained alone.
        alone_probe: of a linear probe of the encoder that was trained alone.
        gap: alone_probe - probe: how far the encoder is under-trained.
        alone_adds: what those features add to the others'.
    """

    probe: Interval | None = None
    unused: Interval | None = None
    adds: Interval | None = None
    alone: Interval | None = None
    alone_probe: Interval | None = None
    gap: Interval | None = None
    alone_adds: Interval | None = None


@dataclass(frozen=True)
class Information:
    """In nats.

    Attributes:
        entropy: H(Y) of the test labels.
        modalities: for each modality the lower bound of I(X_m; Y) by its own logits.
        fused: the lower bound of I(Z; Y).
        decomposition: of pairs of modalities' predicted classes.
        pointwise: for each modality how its bound is spread over samples, log p(y | x_m) - log p(y).
        pointwise_fused: the same of the fused prediction.
        retained: for each modality the spread of the bound of I(X_m; Z; Y), what it and the fused prediction both say.
        conditional: what pairs of modalities' features share beyond the label, where it was asked for.
    """

    entropy: float
    modalities: Mapping[str, Interval]
    fused: Interval
    decomposition: tuple[Decomposition, ...]
    pointwise: Mapping[str, Distribution] = field(default_factory=dict)
    pointwise_fused: Distribution | None = None
    retained: Mapping[str, Distribution] = field(default_factory=dict)
    conditional: tuple[Conditional, ...] = ()


@dataclass(frozen=True)
class Cloud:
    """How the features of one modality lie; None where there are too few samples or classes to tell.

    Attributes:
        within, between: kernel distance of two samples of one class, and of different classes.
        uniformity: how little of the sphere they fill; 0 where they all point in one direction.
    """

    within: Interval | None
    between: Interval | None
    uniformity: Interval | None


@dataclass(frozen=True)
class Pair:
    """How the features of two modalities lie to each other; None where that is not defined.

    Attributes:
        first, second: the modalities.
        within, between: kernel distance of a feature of the one and a feature of the other, of two samples of one
            class, and of different classes; None where their features differ in width.
        alignment: squared distance of the two features of one sample; None where they differ in width.
        cka: linear centred kernel alignment, of any widths.
    """

    first: str
    second: str
    within: Interval | None
    between: Interval | None
    alignment: Interval | None
    cka: Interval | None


@dataclass(frozen=True)
class Map:
    """Features in the plane, by t-SNE: which are near each other means something, distances and axes do not.

    Attributes:
        modality: of each point.
        sample: of each point, its position in the test data.
        target: of each point, its class.
        x, y: where it is.
    """

    modality: tuple[str, ...]
    sample: tuple[int, ...]
    target: tuple[int, ...]
    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True)
class Geometry:
    """Where features lie, see `geometry`.

    Attributes:
        clouds: for each modality its own.
        pairs: of modalities.
        maps: one of all modalities, or one of each where their widths differ; none where they were not asked for.
    """

    clouds: Mapping[str, Cloud]
    pairs: tuple[Pair, ...]
    maps: tuple[Map, ...] = ()


@dataclass(frozen=True)
class Curve:
    """Accuracy at each of some rates or strengths."""

    at: tuple[float, ...]
    accuracy: tuple[Interval, ...]


@dataclass(frozen=True)
class Robustness:
    """What is left of accuracy, see `robustness`.

    Attributes:
        missing: for each modality, when it alone is missing at a rate.
        missing_any: when each of them is, independently, but never all.
        noise: for each modality, when its input has noise of so many of its standard deviations; None where it takes
            none, such as token ids.
        wrong: for each modality, when its input is that of another sample at a rate.
        samples: that noise and wrong inputs were tried on; 0 where they were not.
        exact: whether all coalitions were asked, so that nothing but the samples is drawn.
    """

    missing: Mapping[str, Curve]
    missing_any: Curve
    noise: Mapping[str, Curve | None]
    wrong: Mapping[str, Curve]
    samples: int
    exact: bool


@dataclass(frozen=True)
class Sentence:
    """A sentence of the verdict and the figures that it rests on."""

    about: str
    text: str
    evidence: Mapping[str, Interval] = field(default_factory=dict)


@dataclass(frozen=True)
class Diagnosis:
    """What each modality gives, could give, and what to do.

    Attributes:
        modalities: their names.
        classes: their names.
        samples: N, test samples.
        absence: how modalities were taken away.
        level: of the intervals.
        groups: of how many groups the test samples are, such as patients, where the data say so; intervals are then over groups.
        chance: accuracy of always naming the most frequent class of the test samples.
        accuracy: of the whole model.
        balanced: its balanced accuracy, the mean over the classes of the test samples of the share of their samples that are
            right; of any answer that does not depend on the sample it is one over their number. None in an older diagnosis.
        trained: accuracy of the whole model on the training data, None where they are not known.
        method: that the model was trained with, as expression; "" where it is not known.
        subsets: the model with every coalition of modalities that was asked.
        use, potential: for each modality.
        differences: for each pair "a - b" the difference of their Shapley values of accuracy.
        interactions: of every pair.
        information: None where the model has no logits per modality.
        geometry: None where the model has no features per modality.
        robustness: None in a diagnosis that was made before there was any.
        remarks: sentences on how the answers were read.
        verdict: in words.
        version: of this form.
    """

    modalities: tuple[str, ...]
    classes: tuple[str, ...]
    samples: int
    absence: Absence
    chance: float
    accuracy: Interval
    subsets: tuple[Subset, ...]
    use: Mapping[str, Use]
    potential: Mapping[str, Potential]
    differences: Mapping[str, Interval]
    interactions: tuple[Interaction, ...]
    information: Information | None
    verdict: tuple[Sentence, ...] = ()
    level: float = LEVEL
    version: int = VERSION
    geometry: Geometry | None = None
    robustness: Robustness | None = None
    remarks: tuple[str, ...] = ()
    balanced: Interval | None = None
    trained: Interval | None = None
    method: str = ""
    groups: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as they stand in `diagnosis.json`."""
        from .form import to_dict

        return to_dict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Diagnosis:
        """The inverse of `to_dict`.

        Raises:
            DataError: the values are not a diagnosis.
        """
        from .form import from_dict

        return from_dict(values)

    def text(self) -> str:
        """Tables and the verdict, as the command line prints them."""
        from .form import text

        return text(self)

    def _repr_html_(self) -> str:
        from .form import html

        return html(self)
