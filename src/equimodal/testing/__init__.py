"""The laws that every balancing method keeps, public so that your own methods can be held to them.

::

    from equimodal.testing import check_method

    def test_my_method():
        check_method(MyMethod)

or, one test per law, number of modalities and method::

    @pytest.mark.parametrize("check", parametrize_with_checks(["my_package.my_module:MyMethod(alpha=0.5)"]))
    def test_law(check):
        check()

A law that is broken raises an AssertionError that names it. `LAWS` has them by name; `law_processes` needs `Workers`.
"""

from .laws import LAWS, check_method, law_processes, parametrize_with_checks
from .workers import Workers
from .world import Make, Training, World, eager_host, maker

__all__ = [
    "LAWS",
    "Make",
    "Training",
    "Workers",
    "World",
    "check_method",
    "eager_host",
    "law_processes",
    "maker",
    "parametrize_with_checks",
]
