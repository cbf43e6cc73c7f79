"""A model of several modalities: missing ones reach nothing, phases say who learns."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from equimodal import Batch, Multimodal, heads
from equimodal.core import Padded, Phase
from equimodal.errors import ConfigError

WIDTH, SIZE = 3, 5
NAMES = ("p", "q")


class Counting(nn.Module):
    """An encoder that remembers how many rows it was given."""

    def __init__(self, norm: bool = False) -> None:
        super().__init__()
        self.linear = nn.Linear(4, WIDTH)
        self.norm = nn.BatchNorm1d(WIDTH) if norm else nn.Identity()
        self.seen: list[int] = []

    def forward(self, values: Tensor) -> Tensor:
        self.seen.append(len(values))
        return self.norm(self.linear(values))


class Unready(nn.Module):
    """An encoder whose class forgets PyTorch's own part."""

    def __init__(self) -> None:
        self.width = WIDTH


class UnreadyHead(heads.Linear):
    """The same of a head."""

    def __init__(self, widths: dict[str, int], classes: int) -> None:
        self.bias = 0.0


def test_a_part_that_forgets_its_init_is_told_its_class() -> None:
    head = heads.Linear(dict.fromkeys(NAMES, WIDTH), 3)
    with pytest.raises(
        ConfigError, match=r"Unready\.__init__\(\) must begin with super\(\)\.__init__\(\):"
    ):
        Multimodal({"p": Counting(), "q": Unready()}, head)
    said = r"UnreadyHead\.__init__\(\) must begin with super\(\)\.__init__\(widths, classes\):"
    with pytest.raises(ConfigError, match=said):
        Multimodal({m: Counting() for m in NAMES}, UnreadyHead(head.widths, 3))


def model_of(norm: bool = False, names: tuple[str, ...] = NAMES) -> Multimodal:
    torch.manual_seed(0)
    encoders = {m: Counting(norm) for m in names}
    return Multimodal(encoders, heads.Linear(dict.fromkeys(names, WIDTH), 3)).double()


def inputs(size: int = SIZE) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(1)
    return {m: torch.randn(size, 4, generator=draw, dtype=torch.float64) for m in NAMES}


def lacking(*there: int) -> Batch:
    """A batch in which only these samples have the second modality."""
    mask = torch.zeros(SIZE, dtype=torch.bool)
    mask[list(there)] = True
    return Batch(inputs(), present={"q": mask})


def test_an_encoder_runs_on_the_rows_that_have_its_modality() -> None:
    model = model_of()
    output = model(lacking(1, 3))
    assert model.encoders["p"].seen == [SIZE]
    assert model.encoders["q"].seen == [2]
    wanted = model.encoders["q"].linear(inputs()["q"])
    for i in range(SIZE):
        expected = wanted[i] if i in (1, 3) else torch.zeros(WIDTH, dtype=torch.float64)
        torch.testing.assert_close(output.features["q"][i], expected)


def test_a_modality_that_nobody_has_is_not_encoded() -> None:
    for batch in (lacking(), Batch({"p": inputs()["p"]})):
        model = model_of()
        output = model(batch)
        output.fused.sum().backward()
        assert model.encoders["q"].seen == []
        assert not output.features["q"].any() and not output.unimodal["q"].any()
        assert model.encoders["q"].linear.weight.grad is None
        assert model.head.weight("q").grad_fn is not None
        assert not model.head.linear.weight.grad[:, WIDTH:].any()


def test_placeholders_reach_no_statistic_and_no_gradient() -> None:
    rows = (0, 2, 3)
    batch = lacking(*rows)
    strange = {m: v.clone() for m, v in inputs().items()}
    strange["q"][[1, 4]] = 1e6
    found = []
    for values in (batch.inputs, strange):
        model = model_of(norm=True)
        output = model(Batch(values, present=batch.present))
        output.fused.square().sum().backward()
        state = model.state_dict()
        found.append([*state.values(), *(p.grad for p in model.parameters()), output.fused])
    assert all(torch.equal(first, second) for first, second in zip(*found, strict=True))
    model = model_of(norm=True)
    model(batch)
    alone = model.encoders["q"].linear(inputs()["q"][list(rows)])
    torch.testing.assert_close(model.encoders["q"].norm.running_mean, 0.1 * alone.mean(0))


def test_one_sample_is_normed_by_the_running_statistics() -> None:
    """It has no variance of its own; the statistics and the mode stay as they are."""
    model = model_of(norm=True)
    before = {k: v.clone() for k, v in model.encoders["q"].state_dict().items()}
    output = model(lacking(2))
    after = model.encoders["q"].state_dict()
    assert all(torch.equal(after[k], v) for k, v in before.items())
    assert model.encoders["q"].norm.training
    wanted = model.encoders["q"].eval()(inputs()["q"][2:3])
    torch.testing.assert_close(output.features["q"][2:3], wanted)


def test_phases_say_who_learns_who_speaks_and_who_is_silent() -> None:
    model = model_of(norm=True)
    batch = Batch(inputs())
    before = model.encoders["q"].norm.running_mean.clone()
    output = model(batch, Phase(train=("p",), frozen=("q",)))
    output.fused.sum().backward()
    assert model.encoders["p"].linear.weight.grad is not None
    assert model.encoders["q"].linear.weight.grad is None
    assert torch.equal(model.encoders["q"].norm.running_mean, before)
    assert model.encoders["q"].training and model.encoders["q"].norm.training
    spoken = model.encoders["q"].eval()(batch.inputs["q"])
    torch.testing.assert_close(output.features["q"], spoken.detach())
    alone = model(batch, Phase(train=("q",)))
    assert list(alone.features) == list(alone.unimodal) == ["q"]
    torch.testing.assert_close(alone.unimodal["q"], alone.fused)


def test_speaking_keeps_a_part_that_its_owner_holds_in_evaluation_mode() -> None:
    model = model_of(norm=True)
    model.encoders["q"].norm.eval()
    model(Batch(inputs()), Phase(train=("p",), frozen=("q",)))
    assert model.encoders["q"].training
    assert not model.encoders["q"].norm.training


def test_sequences_are_cut_to_the_rows_that_are_there() -> None:
    class Mean(nn.Module):
        def forward(self, sequence: Padded) -> Tensor:
            steps = torch.arange(sequence.values.shape[1]) < sequence.lengths[:, None]
            return (sequence.values * steps[..., None]).sum(1) / sequence.lengths[:, None]

    draw = torch.Generator().manual_seed(2)
    values = torch.randn(4, 6, WIDTH, generator=draw)
    sequences = Padded(values, torch.tensor([6, 2, 1, 4]))
    there = torch.tensor([True, False, True, True])
    model = Multimodal({"s": Mean()}, heads.Linear({"s": WIDTH}, 2))
    features = model(Batch({"s": sequences}, present={"s": there})).features["s"]
    torch.testing.assert_close(features[2], values[2, 0])
    torch.testing.assert_close(features[3], values[3, :4].mean(0))
    assert not features[1].any()


def test_it_says_its_modalities_and_classes() -> None:
    model = model_of()
    assert model.modalities == NAMES
    assert model.classes == 3


@pytest.mark.parametrize("name", ["", "a.b", "keys", "training", "forward"])
def test_a_name_that_a_module_cannot_have_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="choose another name"):
        model_of(names=("p", name))


@pytest.mark.parametrize("head", [("q", "p"), ("p",), ("p", "q", "r")])
def test_encoders_and_head_name_the_same_modalities_in_the_same_order(head: tuple) -> None:
    encoders = {m: Counting() for m in NAMES}
    with pytest.raises(ConfigError, match="same modalities in the same order"):
        Multimodal(encoders, heads.Linear(dict.fromkeys(head, WIDTH), 3))


@pytest.mark.parametrize("present", [{}, {"q": torch.arange(SIZE) > 1}])
@pytest.mark.parametrize("shape", [(WIDTH + 1,), (2, WIDTH), ()])
def test_features_that_do_not_fit_the_head_are_refused(present: dict, shape: tuple) -> None:
    class Wide(nn.Module):
        def forward(self, values: Tensor) -> Tensor:
            return values.new_ones(len(values), *shape)

    model = Multimodal(
        {"p": Counting(), "q": Wide()}, heads.Linear(dict.fromkeys(NAMES, WIDTH), 3)
    ).double()
    with pytest.raises(
        ConfigError, match=r"The encoder of 'q' returns .* the head expects \[B, 3\]"
    ):
        model(Batch(inputs(), present=present))


@pytest.mark.parametrize("name", ["fused", "fitted", "fused_x"])
def test_names_of_the_fused_prediction_are_taken(name: str) -> None:
    """They would be columns of its probabilities."""
    with pytest.raises(ConfigError, match="cannot be called"):
        Multimodal({name: nn.Identity()}, heads.Linear({name: 2}, 3))


@pytest.mark.parametrize("found", [(torch.zeros(SIZE, WIDTH), None), {"features": 1}])
def test_an_encoder_that_returns_no_features_is_named(found: object) -> None:
    class Other(nn.Module):
        def forward(self, values: Tensor) -> object:
            return found

    model = Multimodal({"p": Other()}, heads.Linear({"p": WIDTH}, 3))
    with pytest.raises(ConfigError, match=rf"encoder of 'p' returns a {type(found).__name__} of 5"):
        model(Batch({"p": inputs()["p"]}))


def test_inputs_by_another_name_are_refused() -> None:
    """A modality that is not named is one that nobody has, so that a misspelt one would not be learned from."""
    given = inputs()
    with pytest.raises(ConfigError, match=r"no modality 'Q'.* in place of 'q'"):
        model_of()(Batch({"p": given["p"], "Q": given["q"]}))
    with pytest.raises(ConfigError, match="given a Batch, here a dict"):
        model_of()(given)
    model_of()(Batch({**given, "more": given["q"]}))


def test_a_head_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"The head is a Linear; give one of equimodal\.heads"):
        Multimodal({"p": nn.Linear(4, 3)}, nn.Linear(3, 3))


def test_a_name_that_is_no_text_is_refused() -> None:
    with pytest.raises(ConfigError, match="cannot be called 0: choose another name"):
        Multimodal({0: nn.Linear(4, 3)}, heads.Linear({0: 3}, 3))


@pytest.mark.parametrize("head", [heads.Linear, heads.Sum, heads.Gated, heads.Attention])
def test_an_exported_model_takes_batches_of_any_size(head: type[heads.Head]) -> None:
    class Deployed(nn.Module):
        """As the page of one's own loop has it."""

        def __init__(self, model: Multimodal) -> None:
            super().__init__()
            self.model = model

        def forward(self, p: Tensor, q: Tensor) -> Tensor:
            return self.model(Batch({"p": p, "q": q})).fused

    parts = {m: nn.Sequential(nn.Linear(4, WIDTH), nn.BatchNorm1d(WIDTH)) for m in NAMES}
    options = {"width": 4} if head is heads.Attention else {}
    model = Multimodal(parts, head(dict.fromkeys(NAMES, WIDTH), 3, **options)).double()
    deployed, size = Deployed(model).eval(), torch.export.Dim("size")
    shapes = {m: {0: size} for m in NAMES}
    program = torch.export.export(deployed, (), inputs(), dynamic_shapes=shapes)
    more = inputs(7)
    torch.testing.assert_close(program.module()(**more), deployed(**more))


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_traced_encoder_is_one() -> None:
    traced = torch.jit.trace(nn.Linear(4, 3), torch.zeros(2, 4))
    model = Multimodal({"a": traced}, heads.Linear({"a": 3}, classes=2))
    assert model(Batch({"a": torch.ones(5, 4)})).fused.shape == (5, 2)
