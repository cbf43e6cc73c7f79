"""What tuning may vary."""

from __future__ import annotations

import pytest

from equimodal import methods
from equimodal.benchmark.space import defaults, space, with_options
from equimodal.core import Method
from equimodal.core.expression import build
from equimodal.errors import ConfigError


@pytest.mark.parametrize("name", methods.BY_NAME)
def test_every_methods_space_builds_at_its_ends(name: str) -> None:
    if name == "torchjd":
        pytest.importorskip("torchjd", reason="the extra 'jacobian' is not installed")
    assert set(space(name)) == {f"{name}.{o}" for o in methods.BY_NAME[name].search_space}


def test_options_of_compositions() -> None:
    text = "(bio() + tcm(strength=20)).during(1, 0.9) + bio"
    assert list(space(text)) == ["bio.margin", "tcm.strength", "bio2.margin"]
    assert defaults(text)["tcm.strength"] == 20
    changed = with_options(text, {"tcm.strength": 7.5, "bio2.margin": 0.25})
    assert changed == "(bio() + tcm(strength=7.5)).during(1, 0.9) + bio(margin=0.25)"
    assert isinstance(build(changed, methods.BY_NAME, "method", Method), Method)


def test_what_stands_first_is_named() -> None:
    assert with_options("ogm_ge(0.5)", {"ogm_ge.alpha": 0.1}) == "ogm_ge(alpha=0.1)"
    assert defaults("ogm_ge(0.5)") == {"ogm_ge.alpha": 0.5}
    assert with_options("joint()", {}) == "joint()"


@pytest.mark.parametrize(
    ("declared", "said"),
    [((), "it is empty"), ((2.0, 1.0), "2.0 to 1.0"), ((-3.0, -1.0), "allows -3.0")],
)
def test_a_space_without_a_valid_value(
    declared: tuple[float, ...], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(methods.OGMGE, "search_space", {"alpha": declared})
    with pytest.raises(ConfigError, match=f"tuning space of ogm_ge.alpha.*{said}"):
        space("ogm_ge()")


def test_the_methods_own_value_is_one_of_the_space(monkeypatch: pytest.MonkeyPatch) -> None:
    assert space("infobridge()")["infobridge.alpha"].log
    assert not space("infobridge(alpha=0.0)")["infobridge.alpha"].log
    monkeypatch.setattr(methods.InfoBridge, "search_space", {"context": ("cluster", "constant")})
    choices = ("label", "cluster", "constant")
    assert space("infobridge()")["infobridge.context"].choices == choices
    assert space("infobridge(context='cluster')")["infobridge.context"].choices == choices[1:]
