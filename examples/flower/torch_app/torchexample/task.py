"""States what all sides have agreed on; has the data of a node, and its training."""

from typing import Any

import torch
from torch import nn

from secagg import Range

# What an update means. Server and nodes have the same words, each in its own copy. The weights
# change by less than 0.5 in a round; statistics of batches have a scale of their own. Counters,
# such as `num_batches_tracked`, keep the server's values, and are not sent.
AGREED: dict[str, Any] = {
    "clip": 0.5,
    "arrays": {"*running_mean": 10.0, "*running_var": 100.0},
    "metrics": {"loss": Range(0, 10), "accuracy": Range(0, 1)},
    "training": "torchexample 1",
}


class Net(nn.Module):  # type: ignore[misc]
    """A convolution with batch normalization, for images of 8 x 8 in two classes."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 2)
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Returns the logits of both classes."""
        return self.layers(images)


def first_model() -> Net:
    """Returns the model before the training, the same at every call."""
    torch.manual_seed(0)
    return Net()


def examples_of(partition: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the images of a node, with stripes down or across; made here, never sent."""
    generator = torch.Generator().manual_seed(1 + partition)
    classes = torch.randint(0, 2, (100 * (1 + partition % 3),), generator=generator)
    stripes = 5 * (torch.arange(8) % 2).expand(8, 8)
    images = torch.stack([stripes if down else stripes.T for down in classes.bool()])[:, None]
    return images + 6 * torch.randn(images.shape, generator=generator), classes


def trained(model: Net, images: torch.Tensor, classes: torch.Tensor) -> dict[str, float]:
    """Trains the model for an epoch, and returns loss and accuracy of the last look at all."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    model.train()
    for part, wanted in zip(images.split(20), classes.split(20), strict=True):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(part), wanted).backward()
        optimizer.step()
    return measured(model, images, classes)


def measured(model: Net, images: torch.Tensor, classes: torch.Tensor) -> dict[str, float]:
    """Returns loss and accuracy."""
    model.eval()
    with torch.no_grad():
        logits = model(images)
        loss = float(nn.functional.cross_entropy(logits, classes))
    return {"loss": loss, "accuracy": float((logits.argmax(1) == classes).float().mean())}
