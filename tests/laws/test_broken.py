"""The laws can fail: each catches the methods that break it."""

from __future__ import annotations

import pytest

from equimodal import Method
from equimodal.core import Classification
from equimodal.testing import (
    LAWS,
    Workers,
    World,
    check_method,
    law_processes,
    parametrize_with_checks,
)
from fixtures import broken

CAUGHT = [
    (broken.Unbidden, "monoid", "Law 2 .monoid"),
    (broken.Misplaced, "monoid", "Law 2 .monoid"),
    (broken.Stale, "host", "Law 3 .host"),
    (broken.Forgetful, "resume", "Law 4 .resume, after step 1"),
    (broken.Remembering, "purity", r"Law 5 .purity of losses\(\). is broken: method.mean differs"),
    (broken.InPlace, "purity", r"Law 5 .purity of gradients\(\).*argument"),
    (broken.Rolling, "purity", r"Law 5 .purity of inputs\(\).*generator"),
    (broken.Cutting, "purity", r"Law 5 .purity of phases\(\).*argument"),
    (broken.Pretending, "value", "Law 6 .value"),
    (broken.Dividing, "finite", "Law 7 .finite: a modality that nobody has"),
    (broken.Odds, "finite", "Law 7 .finite: all sure and wrong"),
    (broken.Favouring, "equivariance", "Law 8 .equivariance"),
    (broken.Offset, "neutral", "Law 9 .neutral"),
    (broken.Copied, "neutral", "Law 9 .neutral.*another method"),
    (broken.Sharpened, "decoupling", "Law 10 .decoupling"),
    (broken.Widening, "precision", "Law 13 .precision.*dtype"),
]


@pytest.mark.parametrize(
    ("method", "law", "message"), CAUGHT, ids=lambda x: getattr(x, "__name__", "")
)
def test_the_law_catches_it(method: type[Method], law: str, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        LAWS[law](method, World.of(2))


@pytest.mark.parametrize("method", [broken.Favouring, broken.Sharpened, broken.Forgetful])
def test_all_other_laws_hold(method: type[Method]) -> None:
    breaks = {law for cls, law, _ in CAUGHT if cls is method}
    for name in set(LAWS) - breaks - {"host"}:
        LAWS[name](method, World.of(2))


@pytest.mark.processes
@pytest.mark.parametrize("method", [broken.Local, broken.Private])
def test_the_law_of_processes_catches_it(method: type[Method], workers: Workers) -> None:
    with pytest.raises(AssertionError, match="Law 11 .processes"):
        law_processes(method, World.of(2), workers)


def test_the_law_of_identity_catches_another_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    loss = Classification.mean_loss
    monkeypatch.setattr(Classification, "mean_loss", lambda *args: loss(*args) * (1 + 1e-12))
    with pytest.raises(AssertionError, match="Law 1 .identity"):
        LAWS["identity"](Method, World.of(2))


def test_check_method_builds_the_method_itself() -> None:
    with pytest.raises(TypeError, match=r"give the class of .*Favouring\(\)"):
        check_method(broken.Favouring())  # type: ignore[arg-type]


def test_check_method_of_a_class_with_options_that_must_be_given() -> None:
    class Named(Method):
        def __init__(self, path: str) -> None:
            super().__init__()

    with pytest.raises(TypeError, match=r"Named .*'path'.*: give what builds it, as lambda: Named"):
        check_method(Named)  # type: ignore[arg-type]


def test_check_method_runs_the_laws() -> None:
    check_method("uniform(weight=0.5)", modalities=(2,))
    with pytest.raises(AssertionError, match="Law 8"):
        check_method(broken.Favouring, modalities=(2,))
    check_method(broken.Favouring, modalities=(2,), quiet=Method)


def test_check_method_asks_workers(workers: Workers) -> None:
    with pytest.raises(AssertionError, match="Law 11"):
        check_method(broken.Local, modalities=(2,), workers=workers)


def test_parameters_name_method_law_and_modalities() -> None:
    found = parametrize_with_checks(["uniform()", "joint()"], modalities=(1, 2))
    assert len(found) == 2 * len(LAWS) * 2
    assert found[0].id == "uniform()-identity-1"
    broke = parametrize_with_checks(["fixtures.broken:InPlace()"], modalities=(2,))
    (purity,) = (param.values[0] for param in broke if "purity" in param.id)
    with pytest.raises(AssertionError, match="Law 5"):
        purity()


@pytest.mark.processes
def test_a_failure_in_a_process_comes_with_its_traceback() -> None:
    with Workers(1) as alone:
        with pytest.raises(RuntimeError, match="ZeroDivisionError"):
            alone.run(divmod, 1, 0)
        assert alone.run(divmod, 7, 2) == [(3, 1)]
