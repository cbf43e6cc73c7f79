"""How fast clips become tensors: this library beside the straightforward ways, in clips per second per core.

    python benchmarks/data.py --clips 200
    python benchmarks/data.py --clips 48 --feed 16 --workers 1

Makes clips like those of CREMA-D, 2 to 3 s long, 480×360 at 30 frames per second in flv (Sorenson, mp3) with a 16 kHz wav
beside each, and turns each into 3 frames of 3×224×224 and a spectrogram of 257×188, the input of OGM-GE:

- equimodal: decodes up to the frames that are kept, without converting the others; soxr; PyTorch's STFT;
- opencv: reads frame by frame, keeps one a second, as the field's scripts do; librosa for the sound;
- pyav: decodes and converts every frame, Pillow resizes; SciPy for the sound;
- kept: what equimodal decoded before, read from disk, augmented as in training.

The ways are interleaved in random order over the clips, in one process with one thread. Counted is processor time, of all
threads of the process, so that other work on the machine does not count. `opencv` is left out where opencv-python-headless
or librosa is not installed.

With `--feed`: how long training of two ResNet-18 waits for its batches of that size, read from what was kept, as a
fraction of a step; the first batch, for which nothing could be read ahead, is not counted.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path

import av
import numpy as np
import scipy.signal
import soundfile
import torch
from PIL import Image

from equimodal import Balanced, Method, Multimodal, heads
from equimodal.data import Loader
from equimodal.data.filed import Filed
from equimodal.data.media.audio import PRESETS
from equimodal.data.media.video import Video
from equimodal.models import encoders

SIZE, FPS, RATE = (480, 360), 30, 44100
MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
AUDIO, VIDEO = PRESETS["ogm_ge"], Video(frames=3, size=224)
Way = Callable[[Path, int], tuple[np.ndarray, np.ndarray]]


def write_clip(folder: Path, number: int) -> Path:
    """A textured picture that moves, with some noise, and a chirp; flv and wav."""
    rng = np.random.default_rng(number)
    seconds = float(rng.uniform(2, 3))
    texture = rng.integers(0, 256, (36, 60, 3)).astype(np.uint8)
    scene = np.asarray(Image.fromarray(texture).resize((600, 360), Image.Resampling.BICUBIC))
    path = folder / f"{number:03d}.flv"
    sound = np.sin(np.cumsum(np.linspace(0.01, 0.2, int(seconds * RATE)))).astype(np.float32) * 0.3
    with av.open(str(path), "w") as file:
        film, voice = file.add_stream("flv", rate=FPS), file.add_stream("libmp3lame", rate=RATE)
        film.width, film.height = SIZE
        film.pix_fmt, film.bit_rate = "yuv420p", 600_000
        voice.layout = "mono"
        for i in range(round(seconds * FPS)):
            shown = scene[:, i : i + 480].astype(np.int16) + rng.integers(-6, 7, (360, 480, 1))
            frame = av.VideoFrame.from_ndarray(shown.clip(0, 255).astype(np.uint8), format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, FPS)
            file.mux(film.encode(frame))
        file.mux(film.encode(None))
        whole = av.AudioFrame.from_ndarray(sound[None], format="fltp", layout="mono")
        whole.sample_rate = RATE
        queue = av.AudioFifo()
        queue.write(whole)
        while (part := queue.read(voice.frame_size, partial=True)) is not None:
            file.mux(voice.encode(part))
        file.mux(voice.encode(None))
    soundfile.write(path.with_suffix(".wav"), sound[:: RATE // 16000], 16000)
    return path


def by_equimodal(path: Path, number: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(number)
    frames = VIDEO.finish(VIDEO.decode(path), rng)
    sound = AUDIO.finish(AUDIO.decode(path.with_suffix(".wav")), rng)
    return frames.numpy(), sound.numpy()


def by_opencv(path: Path, number: int) -> tuple[np.ndarray, np.ndarray]:
    import cv2
    import librosa

    film = cv2.VideoCapture(str(path))
    step, kept, count = int(film.get(cv2.CAP_PROP_FPS)), [], 0
    while True:
        there, frame = film.read()
        if not there:
            break
        if count % step == 0:
            rgb = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
            kept.append(cv2.resize(rgb, (224, 224)))
        count += 1
    frames = normalised(kept)
    wave, _ = librosa.load(path.with_suffix(".wav"), sr=22050)
    tiled = np.tile(wave, 3)[: 22050 * 3].clip(-1, 1)
    spectrum = np.abs(librosa.stft(tiled, n_fft=512, hop_length=353))
    return frames, np.log(spectrum + 1e-7)


def by_pyav(path: Path, number: int) -> tuple[np.ndarray, np.ndarray]:
    with av.open(str(path)) as file:
        every = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    kept = [np.asarray(Image.fromarray(f).resize((224, 224))) for f in every[::FPS]]
    frames = normalised(kept)
    wave, rate = soundfile.read(path.with_suffix(".wav"), dtype="float32")
    wave = scipy.signal.resample_poly(wave, 22050, rate)
    tiled = np.tile(wave, 3)[: 22050 * 3].clip(-1, 1)
    _, _, spectrum = scipy.signal.stft(tiled, nperseg=512, noverlap=512 - 353)
    return frames, np.log(np.abs(spectrum) + 1e-7)


def normalised(kept: list[np.ndarray]) -> np.ndarray:
    """[3, 3, 224, 224], the last frame again where there are too few."""
    three = np.stack((kept + kept[-1:] * 3)[:3]).astype(np.float32)
    return ((three / 255 - MEAN) / DEVIATION).transpose(0, 3, 1, 2).astype(np.float32)


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    options.add_argument("--clips", type=int, default=200)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--feed", type=int, default=0, help="samples in a batch")
    options.add_argument("--workers", type=int, default=1)
    chosen = options.parse_args()
    torch.set_num_threads(1)
    ways: dict[str, Way] = {"equimodal": by_equimodal, "pyav": by_pyav}
    if find_spec("cv2") and find_spec("librosa"):
        import cv2

        cv2.setNumThreads(1)
        ways["opencv"] = by_opencv
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        clips = [write_clip(folder, i) for i in range(chosen.clips)]
        kept = Filed(
            {"video": [(p,) for p in clips], "audio": [(p.with_suffix(".wav"),) for p in clips]},
            {"video": VIDEO, "audio": AUDIO},
            [i % 6 for i in range(len(clips))],
            "abcdef",
            [p.stem for p in clips],
            cache=folder / "kept",
            augment=True,
        )
        assert not kept.prepare()
        if chosen.feed:
            print(fed(kept, chosen.feed, chosen.workers))
            return

        def by_kept(path: Path, number: int) -> tuple[np.ndarray, np.ndarray]:
            found = kept.sample(int(path.stem)).inputs
            return found["video"].numpy(), found["audio"].numpy()

        ways["kept"] = by_kept
        report(measured(ways, clips, chosen.seed))


def fed(kept: Filed, batch: int, workers: int) -> str:
    """Two epochs of two ResNet-18, and how long they wait for data."""
    names = {"video": encoders.ResNet18(3), "audio": encoders.ResNet18(1)}
    model = Multimodal(names, heads.Linear({"video": 512, "audio": 512}, 6))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    learner = Balanced(model.to(device), Method())
    optimizer = torch.optim.SGD(learner.parameters(), lr=1e-3)
    loader = Loader(kept, batch, workers=workers, drop_last=True)
    waited, total = [], []
    for epoch in range(2):
        learner.begin_epoch(epoch, loader, None, optimizer)
        batches = loader.iterate(epoch)
        for number in range(len(loader)):
            start = time.perf_counter()
            found = next(batches).to(device)
            there = time.perf_counter()
            for step in learner.steps(found, epoch, number, len(loader)):
                output = learner(step)
                learner.backward(learner.losses(output, step), output, step)
                optimizer.step()
                optimizer.zero_grad()
            if device == "cuda":
                torch.cuda.synchronize()
            if number:
                waited.append(there - start)
                total.append(time.perf_counter() - start)
    share = sum(waited) / sum(total)
    return f"batch {batch}, {workers} worker(s), {device}: {share:.1%} of a step of {np.median(total):.2f} s is waiting"


def measured(ways: dict[str, Way], clips: list[Path], seed: int) -> dict[str, np.ndarray]:
    """For each way the processor seconds of each clip."""
    for way in ways.values():  # imports, and what is allocated once
        way(clips[0], 0)
    todo = [(name, i) for name in ways for i in range(len(clips))]
    random.Random(seed).shuffle(todo)
    seconds = {name: np.zeros(len(clips)) for name in ways}
    for name, i in todo:
        start = time.process_time()
        frames, sound = ways[name](clips[i], i)
        seconds[name][i] = time.process_time() - start
        assert frames.shape == (3, 3, 224, 224)
        assert sound.shape[-2] == 257
    return seconds


def report(seconds: dict[str, np.ndarray]) -> None:
    rng = np.random.default_rng(0)
    ours = seconds["equimodal"]
    draws = rng.integers(len(ours), size=(2000, len(ours)))
    print("| way | clips per second per core | equimodal is so many times as fast (95%) |")
    print("|---|---|---|")
    for name, times in seconds.items():
        ratios = times[draws].sum(1) / ours[draws].sum(1)
        low, high = np.percentile(ratios, [2.5, 97.5])
        print(
            f"| {name} | {len(times) / times.sum():.1f} | {times.sum() / ours.sum():.2f} ({low:.2f} to {high:.2f}) |"
        )


if __name__ == "__main__":
    main()
