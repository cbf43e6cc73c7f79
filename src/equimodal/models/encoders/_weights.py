"""Published weights into an encoder, by the names of its parameters."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ...errors import ConfigError

__all__ = ["load_weights", "read_weights"]


def read_weights(path: Path | str) -> dict[str, Tensor]:
    """The tensors of a ``.safetensors`` file, or of a ``.pt`` or ``.pth`` file that holds nothing but tensors.

    Raises:
        ConfigError: the file is missing, damaged, or would run code when read.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"The weights {path} do not exist; name a .safetensors or .pth file.")
    try:
        if path.suffix == ".safetensors":
            found: dict[str, Tensor] = load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError, RuntimeError, EOFError, ValueError) as error:
        raise ConfigError(f"The weights {path} cannot be read: {_first(error)}") from None
    except Exception as error:  # torch names its refusal by a class of pickle
        raise ConfigError(
            f"The weights {path} hold more than tensors, which is not read: convert them to safetensors."
        ) from error
    if not isinstance(found, dict) or not all(isinstance(v, Tensor) for v in found.values()):
        raise ConfigError(f"The weights {path} are no dictionary of tensors.")
    return found


def load_weights(
    name: str, encoder: nn.Module, path: Path | str, leave: Sequence[str] = ()
) -> None:
    """Give an encoder the weights of a file that names them as the encoder does.

    Args:
        name: of the encoder, for the sentence.
        encoder: changed in place.
        path: see `read_weights`.
        leave: beginnings of names that the encoder has no place for, such as ``"fc."``.

    Raises:
        ConfigError: the file cannot be read, or its names or shapes are not the encoder's.
    """
    found = {k: v for k, v in read_weights(path).items() if not k.startswith(tuple(leave))}
    own = {k: v for k, v in encoder.state_dict().items() if not k.endswith("num_batches_tracked")}
    for key, value in own.items():
        if key not in found:
            raise ConfigError(f"The weights {path} are not those of {name}: they lack {key!r}.")
        if found[key].shape != value.shape:
            raise ConfigError(
                f"The weights {path} are not those of this {name}: {key} has shape {list(found[key].shape)} there, "
                f"{list(value.shape)} here."
            )
    more = sorted(k for k in found.keys() - own.keys() if not k.endswith("num_batches_tracked"))
    if more:
        raise ConfigError(f"The weights {path} are not those of {name}, which has no {more[0]!r}.")
    encoder.load_state_dict(found, strict=False)


def _first(error: Exception) -> str:
    return f"{(str(error).splitlines() or [type(error).__name__])[0].rstrip('.')}."
