"""A training loop of one's own: plain PyTorch modules, one line more per epoch, a list of steps per batch.

python examples/own_loop.py
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from equimodal import Balanced, Multimodal, data, evaluate, heads, methods

EPOCHS = 8


class Cloud(nn.Module):
    """A point cloud [B, N, 3] to features [B, 64] that do not depend on the order of its points."""

    def __init__(self) -> None:
        super().__init__()
        self.point = nn.Sequential(nn.Linear(3, 64), nn.ReLU(), nn.Linear(64, 64))

    def forward(self, points: Tensor) -> Tensor:
        features: Tensor = self.point(points).amax(1)
        return features


def main() -> None:
    torch.manual_seed(0)
    digits = data.load("digits3d")
    train = data.Loader(digits.train, batch_size=64, seed=0)
    val = data.Loader(digits.val, batch_size=64, shuffle=False)

    encoders = {
        "image": nn.Sequential(nn.Flatten(), nn.Linear(100, 64), nn.ReLU()),
        "points": Cloud(),
    }
    model = Multimodal(encoders, heads.Linear({"image": 64, "points": 64}, classes=10))
    learner = Balanced(model, methods.BIO(), samples=len(digits.train), epochs=EPOCHS)
    optimizer = torch.optim.SGD(learner.parameters(), lr=0.01, momentum=0.9)

    for epoch in range(EPOCHS):
        train.set_epoch(epoch)
        learner.begin_epoch(epoch, train, val, optimizer)
        for i, batch in enumerate(train):
            for step in learner.steps(batch, epoch, i, len(train)):
                output = learner(step)
                losses = learner.losses(output, step)
                learner.backward(losses, output, step)
                optimizer.step()
                optimizer.zero_grad()
        found = evaluate(learner, digits.val)
        alone = ", ".join(f"{name} {s.accuracy:.1%}" for name, s in found.decoupled.items())
        print(f"epoch {epoch + 1}: fused {found.fused.accuracy:.1%}, decoupled {alone}")


if __name__ == "__main__":
    main()
