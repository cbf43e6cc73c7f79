"""What a large manifest costs to open, and whether shards keep a model fed.

    python benchmarks/manifest.py --rows 1000000
    python benchmarks/manifest.py --wait

The first writes a manifest of so many rows: id, label, group, a number, and paths of an image and of a recording, of which
there are 10,000 different files each, and opens it in a process of its own. Printed: the seconds from the call to splits
that are ready to train on, the peak memory of the process, and what it had before (Python, PyTorch, Arrow). Every file is looked for; none is decoded.

The second prepares 256 samples of three frames of 3×224×224 and a spectrogram of 257×188 as shards and trains two
ResNet-18 from them. Printed: the share of an epoch that the loop waits for the next batch, with and without a worker.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

FILES = 10_000
TOML = """
manifest = "rows.{suffix}"
label = "label"
group = "patient"
id = "id"

[modalities.image]
kind = "image"
column = "image"
size = 64

[modalities.sound]
kind = "audio"
column = "sound"
seconds = 1.0
form = "logmel"

[modalities.facts]
kind = "table"
columns = ["age"]
"""


def write(folder: Path, rows: int) -> None:
    """The manifest as CSV and as Parquet, and files of a byte."""
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    rng = np.random.default_rng(0)
    for kind, suffix in (("images", "jpg"), ("sounds", "wav")):
        (folder / kind).mkdir()
        for i in range(FILES):
            (folder / kind / f"subject-{i:07}.{suffix}").write_bytes(b"x")
    place = np.arange(rows) % FILES
    columns = {
        "id": [f"sample-{i}" for i in range(rows)],
        "label": np.array(["healthy", "mild", "severe"])[rng.integers(0, 3, rows)],
        "patient": [f"patient-{i // 10}" for i in range(rows)],
        "age": rng.normal(50, 10, rows).round(1),
        "image": [f"images/subject-{i:07}.jpg" for i in place],
        "sound": [f"sounds/subject-{i:07}.wav" for i in place],
    }
    table = pa.table(columns)
    pa.csv.write_csv(table, folder / "rows.csv")
    pa.parquet.write_table(table, folder / "rows.parquet")
    for suffix in ("csv", "parquet"):
        (folder / f"{suffix}.toml").write_text(TOML.format(suffix=suffix))


def peak() -> float:
    """MiB; what `getrusage` says begins with the parent's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def open_it(path: Path) -> None:
    import torch  # noqa: F401

    from equimodal.data.manifest import load

    before = peak()
    start, spent = time.perf_counter(), time.process_time()
    splits = load(path)
    seconds, processor = time.perf_counter() - start, time.process_time() - spent
    counts = " + ".join(f"{len(part):,}" for part in splits.parts.values())
    print(
        f"{path.name:13} {counts} samples: {seconds:.1f} s ({processor:.1f} s of processor time), peak {peak():.0f} MiB; "
        f"before {before:.0f} MiB"
    )


def wait(samples: int = 256, batch: int = 16) -> None:
    import soundfile
    import torch
    from PIL import Image

    from equimodal import Balanced, Multimodal, heads
    from equimodal.data import Loader
    from equimodal.data.manifest import load
    from equimodal.data.manifest.prepare import prepare
    from equimodal.models import encoders

    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        lines = ["video,sound,label"]
        for i in range(samples):
            (folder / f"v{i}").mkdir()
            for frame in range(3):
                pixels = rng.integers(0, 255, (256, 340, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"v{i}" / f"{frame}.jpg")
            soundfile.write(folder / f"s{i}.wav", 0.1 * rng.normal(size=3 * 22050), 22050)
            lines.append(f"v{i},s{i}.wav,{'ab'[i % 2]}")
        (folder / "rows.csv").write_text("\n".join(lines) + "\n")
        (folder / "rows.toml").write_text(
            'manifest = "rows.csv"\nlabel = "label"\n[modalities.video]\nkind = "video"\ncolumn = "video"\nframes = 3\n'
            '[modalities.sound]\nkind = "audio"\ncolumn = "sound"\nrate = 22050\nseconds = 3.0\nform = "stft"\nhop = 353\n'
        )
        train = load(prepare(folder / "rows.toml", folder / "shards").toml).train
        model = Multimodal(
            {"video": encoders.ResNet18(channels=3), "sound": encoders.ResNet18(channels=1)},
            heads.Linear({"video": 512, "sound": 512}, 2),
        )
        learner = Balanced(model)
        optimizer = torch.optim.SGD(learner.parameters(), lr=0.01)
        for workers in (0, 1):
            waited, start = 0.0, time.perf_counter()
            loader = Loader(train, batch, workers=workers)
            batches = loader.iterate(0)
            for number in range(len(loader)):
                asked = time.perf_counter()
                one = next(batches)
                waited += time.perf_counter() - asked
                for step in learner.steps(one, 0, number, len(loader)):
                    output = learner(step)
                    learner.backward(learner.losses(output, step), output, step)
                    optimizer.step()
                    optimizer.zero_grad()
            total = time.perf_counter() - start
            print(f"{workers} workers: {total:.1f} s an epoch, waiting {waited / total:.1%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--wait", action="store_true")
    parser.add_argument("--open", type=Path, help=argparse.SUPPRESS)
    said = parser.parse_args()
    if said.open:
        return open_it(said.open)
    if said.wait:
        return wait()
    with tempfile.TemporaryDirectory() as place:
        write(Path(place), said.rows)
        for suffix in ("csv", "parquet"):
            command = [sys.executable, __file__, "--open", str(Path(place) / f"{suffix}.toml")]
            subprocess.run(command, check=True)
    return None


if __name__ == "__main__":
    main()
