"""Joint training and IBML on the same model, by `fit`; the runs are kept under runs/.

Three epochs show how it is done, not what a method gains.

python examples/fit.py
"""

from __future__ import annotations

import torch

from equimodal import Method, Multimodal, data, encoders, fit, heads, methods


def model() -> Multimodal:
    """The same weights for every method."""
    torch.manual_seed(0)
    made = {
        "image": encoders.CNN(channels=1, widths=(16, 32), kernels=(3, 3), width=32),
        "points": encoders.DGCNN(width=32, k=6, widths=(8, 16)),
    }
    return Multimodal(made, heads.Linear({"image": 32, "points": 32}, classes=10))


def main() -> None:
    digits = data.load("digits3d", points=64)
    compared = {"joint": Method(), "ibml": methods.IBML()}
    for name, method in compared.items():
        run = fit(model(), digits, method, epochs=3, lr=0.02, out=f"runs/{name}", overwrite=True)
        test = run.results["test"]
        print(f"{name}: fused {test['fused']['accuracy']:.1%}")
        for modality, found in test["modalities"].items():
            print(f"  {modality}: decoupled {found['decoupled']:.1%}, probe {found['probe']:.1%}")


if __name__ == "__main__":
    main()
