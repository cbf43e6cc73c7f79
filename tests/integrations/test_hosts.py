"""Law 3 over the integrations: each host ends with the weights of the plain loop, bit for bit."""

from __future__ import annotations

import dataclasses
import functools
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from equimodal import Balanced, Batch, Multimodal, heads
from equimodal.core import Epoch, Method
from equimodal.data import Arrays, Loader
from equimodal.errors import ConfigError
from equimodal.testing import Training, World, maker

pytestmark = pytest.mark.whole

WORLD = World.of(2)
# One update per batch, several, rows per loss, gradients and inputs changed, a rate of its own, data read at an epoch's start.
METHODS = [
    "joint()",
    "ibml()",
    "ogm_ge() + uniform()",
    "mla()",
    "mmpareto()",
    "pmr()",
    "reconboost(boost=1, consolidate=1)",
    "infobridge()",
]
SGD = functools.partial(torch.optim.SGD, lr=Training.RATE, momentum=Training.MOMENTUM)

LIGHTNING: dict[str, Any] = {
    "accelerator": "cpu",
    "devices": 1,
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}

Host = Callable[[Training, Path], None]


def weights_of(training: Training) -> dict[str, torch.Tensor]:
    return {n: t.detach().clone() for n, t in training.learner.state_dict().items()}


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """What the hosts warn of among themselves is not ours."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "transformers")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


# The hosts.


def lightning(training: Training, folder: Path, **options: Any) -> None:
    pl = pytest.importorskip("lightning.pytorch", reason="the extra 'lightning' is not installed")
    from equimodal.integrations.lightning import BalancedModule

    options = {"max_epochs": training.world.epochs, **LIGHTNING, **options}
    trainer = pl.Trainer(default_root_dir=folder, **options)
    trainer.fit(
        BalancedModule(training.learner, SGD), _loader(training.train), _loader(training.val)
    )


def _loader(batches: list[Batch]) -> DataLoader[Batch]:
    """One that draws nothing from the global generator."""
    return DataLoader(batches, batch_size=None, generator=torch.Generator())


def transformers(training: Training, folder: Path, **options: Any) -> None:
    trainer = trainer_of(training, folder, **options)
    torch.manual_seed(1)  # building it set the seed
    trainer.train()


def trainer_of(
    training: Training, folder: Path, model: Any = None, given: bool = True, **options: Any
) -> Any:
    """A host that is given the batches, or makes them of samples."""
    hf = pytest.importorskip("transformers", reason="the extra 'text' is not installed")
    pytest.importorskip("accelerate", reason="the extra 'text' is not installed")
    from equimodal.integrations.transformers import BalancedTrainer

    class Sampling(BalancedTrainer, hf.Trainer):
        def _get_train_sampler(self, *_: Any) -> Any:
            return torch.utils.data.SequentialSampler(samples)

    class Given(BalancedTrainer, hf.Trainer):
        def get_train_dataloader(self) -> Any:
            return [{"batch": batch} for batch in training.train]

        def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
            return [{"batch": batch} for batch in training.val]

    samples = range(training.world.samples)
    unseen = range(len(samples), 2 * len(samples))
    whole = Batch.concatenate([*training.train, *training.val])

    chosen = {
        "num_train_epochs": training.world.epochs,
        "max_grad_norm": 0.0,
        "remove_unused_columns": False,
        "lr_scheduler_type": "constant",
        "report_to": "none",
        "save_strategy": "no",
        "use_cpu": True,
        "disable_tqdm": True,
        **options,
    }
    learner = training.learner if model is None else model
    optimizers = (SGD(training.learner.parameters()), None)
    arguments = hf.TrainingArguments(str(folder), **chosen)
    return (Given if given else Sampling)(
        model=learner,
        args=arguments,
        optimizers=optimizers,
        train_dataset=samples,
        eval_dataset=unseen,
        data_collator=lambda rows: {"batch": whole.select(rows)},
    )


def accelerate(training: Training, folder: Path) -> None:
    module = pytest.importorskip("accelerate", reason="the extra 'text' is not installed")
    accelerator = module.Accelerator(cpu=True)
    optimizer = accelerator.prepare(SGD(training.learner.parameters()))
    loop(training, optimizer, accelerator.backward)


def fabric(training: Training, folder: Path) -> None:
    module = pytest.importorskip("lightning_fabric")
    host = module.Fabric(accelerator="cpu", devices=1)
    host.launch()
    optimizer = SGD(training.learner.parameters())
    loop(training, optimizer, host.backward)


def loop(training: Training, optimizer: torch.optim.Optimizer, backward: Any) -> None:
    """The plain loop, with the host's own backward."""
    learner, train = training.learner, training.train
    for epoch in range(training.world.epochs):
        for group in optimizer.param_groups:
            group["lr"] = Training.RATE * learner.rate(epoch)
        learner.begin_epoch(epoch, train, training.val, optimizer)
        for number, batch in enumerate(train):
            for step in learner.steps(batch, epoch, number, len(train)):
                output = learner(step)
                losses = learner.losses(output, step)
                learner.backward(losses, output, step, backward)
                optimizer.step()
                optimizer.zero_grad()


HOSTS: dict[str, Host] = {
    "lightning": lightning,
    "transformers": transformers,
    "accelerate": accelerate,
    "fabric": fabric,
}


@pytest.mark.parametrize("expression", METHODS)
@pytest.mark.parametrize("host", HOSTS)
def test_host_ends_with_the_weights_of_the_plain_loop(
    host: str, expression: str, tmp_path: Path
) -> None:
    make = maker(expression)
    wanted = weights_of(Training(make(), WORLD).advance())
    hosted = Training(make(), WORLD)
    HOSTS[host](hosted, tmp_path)
    found = weights_of(hosted)
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert torch.equal(found[name].to(value.dtype), value), name


@pytest.mark.parametrize("host", HOSTS)
def test_a_host_says_how_many_batches_there_are(host: str, tmp_path: Path) -> None:
    """PMR makes its prototypes from every tenth batch: here from two."""
    world = World.of(2, batches=20, epochs=1)
    wanted = weights_of(Training(maker("pmr()")(), world).advance())
    hosted = Training(maker("pmr()")(), world)
    HOSTS[host](hosted, tmp_path)
    found = weights_of(hosted)
    assert all(torch.equal(found[name].to(value.dtype), value) for name, value in wanted.items())


@pytest.mark.parametrize("expression", ["pmr()", "relearn(every=1)", "ibml()"])
def test_transformers_reads_its_own_loader(expression: str, tmp_path: Path) -> None:
    """Samples from a data set, collated and prepared by the host, which a method reads at an epoch's start."""
    world = dataclasses.replace(WORLD.still(), epochs=3)
    make = maker(expression)
    wanted = weights_of(Training(make(), world).advance())
    hosted = Training(make(), world)
    sizes = {"per_device_train_batch_size": world.size, "per_device_eval_batch_size": world.size}
    trainer = trainer_of(hosted, tmp_path, given=False, **sizes)
    trainer.train()
    found = weights_of(hosted)
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, atol=1e-12, rtol=0)


class Reading(Method):
    """Remembers which validation batches it was given."""

    seen: tuple[list[int], ...] = ()

    def begin_epoch(self, epoch: Epoch) -> None:
        self.seen = tuple(batch.index.tolist() for batch in epoch.val or ())  # type: ignore[union-attr]


@pytest.mark.parametrize("form", ["one", "list", "list of one", "dict"])
def test_lightning_reads_all_loaders_of_validation(form: str, tmp_path: Path) -> None:
    pl = pytest.importorskip("lightning.pytorch", reason="the extra 'lightning' is not installed")
    from equimodal.integrations.lightning import BalancedModule

    method = Reading()
    training = Training(method, dataclasses.replace(WORLD, epochs=1))
    assert len(training.val) > 1
    first, rest = _loader(training.val[:1]), _loader(training.val[1:])
    whole = _loader(training.val)
    given = {
        "one": whole,
        "list": [first, rest],
        "list of one": [whole],
        "dict": {"a": first, "b": rest},
    }
    trainer = pl.Trainer(max_epochs=1, **LIGHTNING, default_root_dir=tmp_path)
    trainer.fit(BalancedModule(training.learner, SGD), _loader(training.train), given[form])
    assert method.seen == tuple(batch.index.tolist() for batch in training.val)


def test_lightning_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    pl = pytest.importorskip("lightning.pytorch", reason="the extra 'lightning' is not installed")
    from equimodal.integrations.lightning import BalancedModule

    world, make = dataclasses.replace(WORLD.still(), epochs=3), maker("ibml()")
    wanted = weights_of(Training(make(), world).advance())
    begun, resumed = Training(make(), world), Training(make(), world, seed=9)
    for training, epochs, start in ((begun, 1, None), (resumed, 3, tmp_path / "one.ckpt")):
        trainer = pl.Trainer(max_epochs=epochs, **LIGHTNING, default_root_dir=tmp_path)
        module = BalancedModule(training.learner, SGD)
        trainer.fit(module, _loader(training.train), _loader(training.val), ckpt_path=start)
        trainer.save_checkpoint(tmp_path / "one.ckpt")
    found = weights_of(resumed)
    for name, value in wanted.items():
        assert torch.equal(found[name].to(value.dtype), value), name


def test_lightning_clips_schedules_and_logs(tmp_path: Path) -> None:
    pl = pytest.importorskip("lightning.pytorch", reason="the extra 'lightning' is not installed")
    from equimodal.integrations.lightning import BalancedModule

    training = Training(Method(), WORLD)
    optimizers = []

    def make(parameters: Any) -> torch.optim.Optimizer:
        optimizers.append(SGD(parameters))
        return optimizers[-1]

    before = weights_of(training)
    module = BalancedModule(training.learner, make, schedule=lambda epoch: 0.5**epoch, clip=1e-9)
    trainer = pl.Trainer(max_epochs=2, **LIGHTNING, default_root_dir=tmp_path)
    trainer.fit(module, _loader(training.train), _loader(training.val))
    assert optimizers[0].param_groups[0]["lr"] == Training.RATE * 0.5
    for name, parameter in training.learner.named_parameters():
        torch.testing.assert_close(parameter, before[name], atol=1e-8, rtol=0)
    logged = trainer.callback_metrics
    whole = Batch.concatenate(training.val)
    said = training.learner.predict(whole)
    right = (said.fused.argmax(1) == whole.target).double().mean()
    assert float(logged["val/accuracy"]) == pytest.approx(float(right), abs=1e-6)
    mask = whole.mask("mod1")
    right = (said.unimodal["mod1"].argmax(1) == whole.target)[mask].double().mean()
    assert float(logged["val/accuracy/mod1"]) == pytest.approx(float(right), abs=1e-6)


def test_lightning_shuffles_the_librarys_loader_anew_in_each_epoch(tmp_path: Path) -> None:
    pl = pytest.importorskip("lightning.pytorch", reason="the extra 'lightning' is not installed")
    from equimodal.integrations.lightning import BalancedModule

    class Seeing(BalancedModule):
        def training_step(self, batch: Batch, batch_idx: int) -> None:
            seen.append(batch.index.tolist())
            super().training_step(batch, batch_idx)

    seen: list[list[int]] = []
    data = Arrays({"a": torch.randn(6, 2)}, [0, 1] * 3, ["x", "y"])
    model = Multimodal({"a": torch.nn.Linear(2, 2)}, heads.Linear({"a": 2}, 2))
    trainer = pl.Trainer(max_epochs=3, **LIGHTNING, default_root_dir=tmp_path)
    trainer.fit(Seeing(Balanced(model), SGD), Loader(data, 6, seed=1))
    assert seen == [Loader(data, 6, seed=1).order(epoch).tolist() for epoch in range(3)]


def test_lightning_predicts(tmp_path: Path) -> None:
    pl = pytest.importorskip("lightning.pytorch", reason="the extra 'lightning' is not installed")
    from equimodal.integrations.lightning import BalancedModule

    training = Training(Method(), WORLD)
    trainer = pl.Trainer(**LIGHTNING, default_root_dir=tmp_path)
    found = trainer.predict(BalancedModule(training.learner, SGD), _loader(training.val))
    for said, batch in zip(found, training.val, strict=True):
        assert torch.equal(said.fused, training.learner.predict(batch).fused)


def test_lightning_refuses_what_it_cannot_read(tmp_path: Path) -> None:
    pl = pytest.importorskip("lightning.pytorch", reason="the extra 'lightning' is not installed")
    from equimodal.integrations.lightning import BalancedModule

    training = Training(Method(), WORLD)
    module = BalancedModule(training.learner, SGD)
    options = {"max_epochs": 1, **LIGHTNING, "default_root_dir": tmp_path}
    with pytest.raises(ConfigError, match="yield Batch, here a dict: give them a collate"):
        pl.Trainer(**options).fit(module, _loader([{"x": torch.ones(2, 2)}]))
    with pytest.raises(ConfigError, match="precision='64-true' converts batches"):
        pl.Trainer(precision="64-true", **options).fit(module, _loader(training.train))
    with pytest.raises(ConfigError, match=r"is one already; give what makes it, as functools"):
        BalancedModule(training.learner, SGD(training.learner.parameters()))


def test_transformers_evaluates_the_fused_logits(tmp_path: Path) -> None:
    training = Training(Method(), WORLD).advance()
    trainer = trainer_of(training, tmp_path)
    whole = Batch.concatenate(training.val)
    fused = training.learner.predict(whole).fused
    loss, logits, target = trainer.prediction_step(training.learner, {"batch": whole}, False)
    torch.testing.assert_close(loss, torch.nn.functional.cross_entropy(fused, whole.target))
    assert torch.equal(logits, fused)
    assert torch.equal(target, whole.target)


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        ("gradient_accumulation_steps", 2, "adds gradients up"),
        ("remove_unused_columns", True, "leaves out"),
    ],
)
def test_transformers_refuses_what_would_change_gradients_first(
    option: str, value: Any, sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=f"{option}={value} {sentence}"):
        trainer_of(Training(Method(), WORLD), tmp_path, **{option: value})


def test_transformers_refuses_a_bare_model(tmp_path: Path) -> None:
    training = Training(Method(), WORLD)
    with pytest.raises(ConfigError, match="here model is a Multimodal"):
        trainer_of(training, tmp_path, model=training.model)


def test_transformers_refuses_what_is_no_batch(tmp_path: Path) -> None:
    training = Training(Method(), WORLD)
    trainer, rows = trainer_of(training, tmp_path), {"image": torch.ones(2, 2), "label": [0, 1]}
    with pytest.raises(ConfigError, match=r"'batch': Batch\(.*here it returns 'image', 'label'"):
        trainer.prediction_step(training.learner, rows, False)
    with pytest.raises(ConfigError, match="data collator"):
        trainer.training_step(training.learner, rows)


def test_lightning_refuses_an_epoch_without_an_end(tmp_path: Path) -> None:
    pl = pytest.importorskip("lightning.pytorch", reason="the extra 'lightning' is not installed")
    from equimodal.integrations.lightning import BalancedModule

    training = Training(Method(), WORLD)
    stream = (batch for batch in training.train * 2)
    trainer = pl.Trainer(max_epochs=1, **LIGHTNING, default_root_dir=tmp_path)
    with pytest.raises(ConfigError, match="limit_train_batches"):
        trainer.fit(BalancedModule(training.learner, SGD), _Stream(stream))


class _Stream:
    """Batches of unknown number."""

    def __init__(self, batches: Iterator[Batch]) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[Batch]:
        return self.batches
