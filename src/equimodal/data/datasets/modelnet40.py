"""ModelNet40: forty kinds of objects by rendered views and by points of their surface.

Sources: Z. Wu et al., *3D ShapeNets: A Deep Representation for Volumetric Shapes*, CVPR 2015; views of H. Su et al.,
*Multi-view Convolutional Neural Networks for 3D Shape Recognition*, ICCV 2015, twelve of each shape, or the 180 of Y. Qin
et al. (IBML), TPAMI 2026; points of C. R. Qi et al., *PointNet*, CVPR 2017. The sources do not have quite the same shapes
(9,840 clouds, 9,843 meshes), so views and points are paired by name, never by position.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ...errors import ConfigError, DataError, nearest
from ..about import About, Source
from ..arrays import choose
from ..filed import Item
from ..media.clouds import Points
from ..media.files import locate
from ..media.image import IMAGE_SUFFIXES, kept, look, open_image
from ..media.reader import Reader, needs
from ..media.rows import rows
from ..media.video import choose as chosen_views
from ..media.video import natural
from ..splits import Splits
from . import _published as published

__all__ = ["ABOUT", "CLASSES", "Views", "clouds", "load", "pictures"]

CLASSES = (
    *("airplane", "bathtub", "bed", "bench", "bookshelf", "bottle", "bowl", "car", "chair"),
    *("cone", "cup", "curtain", "desk", "door", "dresser", "flower_pot", "glass_box", "guitar"),
    *("keyboard", "lamp", "laptop", "mantel", "monitor", "night_stand", "person", "piano"),
    *("plant", "radio", "range_hood", "sink", "sofa", "stairs", "stool", "table", "tent"),
    *("toilet", "tv_stand", "vase", "wardrobe", "xbox"),
)
FOLDERS = {
    "h5": "modelnet40_ply_hdf5_2048",
    "off": "ModelNet40",
    "txt": "modelnet40_normal_resampled",
    "12": "modelnet40_images_new_12x",
    "180": "ModelNet40-Images-180",
}
VIEW = re.compile(r"(.+_\d+)\.obj\.shaded_v(\d+)")
KEPT = 12  # views that are kept of 180
Found = dict[str, tuple[str, Item]]
"""For each shape its part, or "" where the source does not say, and where it lies."""


@dataclass(frozen=True)
class Views(Reader):
    """Views of a shape as [views, 3, size, size]: in training one from each of as many equal parts of the circle at random.

    Args:
        views: how many are seen.
        size: pixels of a side.
        flip: whether all views of a shape are mirrored in training, half of the time.
    """

    images: ClassVar[bool] = True

    views: int = 4
    size: int = 112
    flip: bool = True

    def __post_init__(self) -> None:
        if self.views < 1 or self.size < 1:
            raise ConfigError(
                f"views and size must be at least 1; here {self.views} and {self.size}."
            )

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.views, 3, self.size, self.size)

    @property
    def decoding(self) -> tuple[object, ...]:
        return ("views", kept(self.size, 0))

    def decode(self, path: Path, *others: Path) -> Tensor:
        """[kept views, 3, H, W], bytes, of the files named or of a folder."""
        files = [path, *others]
        if path.is_dir():
            every = [file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES]
            if not every:
                raise DataError(f"{path} has no images; it should hold the views of a shape.")
            ordered = sorted(every, key=natural)
            files = [ordered[i] for i in chosen_views(len(ordered), min(KEPT, len(ordered)), None)]
        return torch.stack([open_image(file, 3, kept(self.size, 0)) for file in files])

    def finish(self, stored: Tensor, rng: np.random.Generator | None = None) -> Tensor:
        seen = stored[chosen_views(len(stored), self.views, rng)]
        return look(seen, self.size, "none", self.flip, rng)


def clouds(folder: Path, source: str) -> Found:
    """The shapes of one source of points: h5, off or txt.

    Raises:
        DataError: a list or file is missing, or contradicts another.
    """
    where = folder / FOLDERS[source]
    found: Found = {}
    if source == "off":
        for path in sorted(where.glob("*/*/*.off")):
            found[path.stem] = (path.parent.name, (path,))
    elif source == "txt":
        for part in ("train", "test"):
            for (name,) in rows(where / f"modelnet40_{part}.txt", 1):
                path = where / name.rpartition("_")[0] / f"{name}.txt"
                found[name] = (part, (path,))
    else:
        for path in sorted(where.glob("ply_data_*.h5"), key=natural):
            part = "train" if "train" in path.name else "test"
            for row, name in enumerate(_names_of(path)):
                found[name] = (part, (path, row))
    return found


def _names_of(path: Path) -> list[str]:
    """The shapes of an h5 file, row by row, by the list beside it; its labels are checked against their names."""
    known = path.with_name(f"{path.stem}_id2file.json")
    try:
        files: Any = json.loads(known.read_text(encoding="utf-8"))
        names = [Path(str(name)).stem for name in files]
    except FileNotFoundError:
        raise DataError(
            f"{known} does not exist; it says which shape each row of {path} is."
        ) from None
    except (ValueError, TypeError):
        raise DataError(
            f"{known} must be a list of names such as airplane/airplane_0001.ply."
        ) from None
    h5py = needs("h5py", "The clouds of ModelNet40")
    try:
        with h5py.File(path, "r") as file:
            labels = np.asarray(file["label"][()]).ravel()
    except (OSError, KeyError) as error:
        raise DataError(f"{path} is cut off, damaged or without labels; get it again.") from error
    if len(labels) != len(names):
        raise DataError(f"{path} has {len(labels)} clouds and {known} names {len(names)}.")
    for row, (name, label) in enumerate(zip(names, labels.tolist(), strict=True)):
        right = CLASSES.index(class_of(known, name))
        if label != right:
            raise DataError(
                f"{path} row {row} has the label {label}, but {known} says {name!r}, whose label is {right}."
            )
    return names


def pictures(folder: Path, source: str) -> Found:
    """The shapes of one source of views: 12 or 180."""
    where = folder / FOLDERS[source]
    if source == "180":
        return {path.name: ("", (path,)) for path in sorted(where.glob("*/*")) if path.is_dir()}
    views: dict[str, tuple[str, list[tuple[int, Path]]]] = {}
    for path in sorted(where.glob("*/*/*.png")):
        match = VIEW.fullmatch(path.stem)
        if match is not None:
            views.setdefault(match[1], (path.parent.name, []))[1].append((int(match[2]), path))
    return {
        name: (part, tuple(p for _, p in sorted(found))) for name, (part, found) in views.items()
    }


def class_of(source: Path, name: str) -> str:
    """The class of a shape such as ``night_stand_0012``.

    Raises:
        DataError: it is none of the forty.
    """
    label = name.rpartition("_")[0]
    if label not in CLASSES:
        raise DataError(f"{source} has the shape {name!r}; {nearest(label, CLASSES)}")
    return label


def listing(folder: Path, sources: Mapping[str, str]) -> published.Listing:
    """All shapes, paired by name; the part is that of the points, or of the views where there are no points."""
    found = {
        name: (clouds if name == "points" else pictures)(folder, source)
        for name, source in sources.items()
    }
    names = sorted(
        {name for every in found.values() for name in every}, key=lambda n: natural(Path(n))
    )
    parts = {}
    for name in names:
        known = [found[m][name][0] for m in ("points", "views") if m in found and name in found[m]]
        parts[name] = next((part for part in known if part), "")
    names = [name for name in names if parts[name]]  # views of 180 alone do not say their part
    return published.Listing(
        names,
        [class_of(folder, name) for name in names],
        [parts[name] for name in names],
        {m: [every[n][1] if n in every else None for n in names] for m, every in found.items()},
    )


def _sources(folder: Path, modalities: Sequence[str], points: str, views: str) -> dict[str, str]:
    """For each modality which source it is read from; auto is the first that is there."""
    options = {"points": (points, ("h5", "off", "txt")), "views": (views, ("12", "180"))}
    found = {}
    for name in sorted(
        set(modalities) | {"points"}
    ):  # which part a shape is in is known from its points
        if name not in options:
            continue
        said, known = options[name]
        choose(f"{name}_from", said, ("auto", *known))
        there = [s for s in known if (folder / FOLDERS[s]).is_dir() and said in ("auto", s)]
        if not there:
            wanted = known if said == "auto" else (said,)
            raise DataError(
                f"{folder} has no {name}: it needs one of {', '.join(FOLDERS[s] for s in wanted)}."
            )
        found[name] = there[0]
    return found


def sources(root: Path | None) -> Iterator[Source]:
    folder = locate(root, "modelnet40", "[mM]odel*et40*")
    found = listing(folder, _sources(folder, ("views", "points"), "auto", "auto"))
    yield from published.default_sources(found, {"views": Views(), "points": Points()})


ABOUT = About(
    task="object",
    classes="40",
    modalities={"views": "(4, 3, 112, 112)", "points": "(1024, 3)"},
    split="9,840 / 2,468 clouds, 9,843 / 2,468 meshes",
    files="modelnet40/{modelnet40_images_new_12x, ModelNet40-Images-180}, "
    "modelnet40/{modelnet40_ply_hdf5_2048, ModelNet40, modelnet40_normal_resampled}",
    licence="research (unverified)",
    sources=sources,
)


def load(
    root: str | Path | None = None,
    *,
    modalities: Sequence[str] = ("views", "points"),
    points_from: str = "auto",
    views_from: str = "auto",
    views: int = 4,
    size: int = 112,
    points: int = 1024,
    incomplete: str = "refuse",
    unreadable: str = "refuse",
    validation: float = 0.1,
    cache: str = "auto",
    seed: int = 0,
) -> Splits:
    """Forty kinds of objects.

    In training a view from each quarter of the circle at random, mirrored half of the time; points drawn anew, turned
    about the upright axis, scaled (2/3 to 3/2), moved (0.2) and shaken (0.01). In validation and test nothing is drawn.

    Args:
        root: the data folder, with ``modelnet40``.
        modalities: of views, points.
        points_from: h5 (2,048 points), off (meshes, sampled on their surface), txt (10,000 points), or auto: the first
            that is there.
        views_from: 12 (of MVCNN), 180 (of IBML), or auto.
        views: of a shape that are seen.
        size: of a view, pixels of a side.
        points: of a cloud that are seen.
        incomplete: shapes without all their files: refuse, drop, or keep with the modality missing.
        unreadable: files that cannot be read: refuse, or drop after trying all.
        validation: the fraction of train that becomes validation.
        cache: where decoded files are kept: auto (in the set's folder, if that is writable), off, or a folder.
        seed: of the carving and the augmentation.

    Raises:
        DataError: a list or a file is missing or damaged.
        ConfigError: an option has no such value.
    """
    use = published.Use(modalities, incomplete, unreadable, validation, cache, seed)
    folder = locate(root, "modelnet40", "[mM]odel*et40*")
    found = _sources(folder, modalities, points_from, views_from)
    cloud = Points(points, 2048, rotate=True, stretch=1.5, shift=0.2, jitter=0.01)
    return published.splits(
        "modelnet40",
        listing(folder, found),
        {"views": Views(views, size), "points": cloud},
        CLASSES,
        folder=folder,
        use=use,
        recipe={
            **{f"{name}_from": source for name, source in found.items()},
            "views": views,
            "size": size,
            "points": points,
        },
        encoders={"views": "resnet18(channels=3)", "points": "dgcnn(width=512, k=20)"},
        training={"batch_size": 32, "epochs": 100, "lr": 0.001},
    )
