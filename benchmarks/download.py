"""Compare downloads of photographs over loopback with a plain aiohttp loop: `make bench BENCH=download`.

    python benchmarks/download.py [--photographs 2000] [--repeats 3]

A server of its own process holds photographs of 1024 x 768 pixels. Every way fetches all of them into a new folder with
the same number of connections and decodes each one: this project's transfer, a plain aiohttp loop that decodes between
two requests, one that decodes in threads, and img2dataset in an environment of its own, if uv can install it. The ways
take turns, each in a new process. Prints Markdown for `benchmarks/README.md`.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jobs import ROOT

sys.path.insert(0, str(ROOT))

CONNECTIONS = 32
DISTINCT = 50  # photographs; the others are links to them
SIZE = (768, 1024)


class Measured(NamedTuple):
    """The seconds and the CPU seconds of a way, without its imports."""

    seconds: float
    cpu: float


def main() -> int:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=int, default=2000, help="number of photographs")
    parser.add_argument("--repeats", type=int, default=3, help="how often each way is measured")
    parser.add_argument("--way", help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--names", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.way:
        names = json.loads(given.names.read_text())
        print(json.dumps(measure(WAYS[given.way], given.url, names, given.out)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        compare(Path(folder), given.photographs, given.repeats)
    return 0


def compare(folder: Path, count: int, repeats: int) -> None:
    """Measure every way in turn, and print a table."""
    names, size = draw(folder / "www", count)
    (folder / "names.json").write_text(json.dumps(names))
    found: dict[str, list[Measured]] = {way: [] for way in WAYS if way != IMG2DATASET or installs_img2dataset()}
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(folder / "www")], stdout=subprocess.PIPE, text=True, env=os.environ
    )
    try:
        assert server.stdout
        url = server.stdout.readline().strip()
        for turn in range(repeats):
            for number, way in enumerate(found):
                found[way].append(run(way, url, folder / "names.json", folder / f"out-{turn}-{number}"))
    finally:
        server.terminate()
        server.wait()
    print(
        f"{count:,} photographs of {size / count / 1e3:,.0f} kB, {CONNECTIONS} connections, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}, medians of {repeats}\n"
    )
    print("| what | photographs/s | seconds | CPU seconds |\n|---|---|---|---|")
    for way, times in found.items():
        seconds, cpu = (statistics.median(values) for values in zip(*times, strict=True))
        print(f"| {way} | {count / seconds:,.0f} | {seconds:.2f} | {cpu:.2f} |")


def draw(folder: Path, count: int) -> tuple[list[str], int]:
    """Write photographs into `train`, and return their image ids and their size together.

    They are smooth shapes with noise, which compress about as well as photographs do.
    """
    from ml.vision.images import encode_jpeg

    random = np.random.default_rng(7)
    (folder / "train").mkdir(parents=True)
    names = [f"{number:016x}" for number in range(count)]
    for number, name in enumerate(names):
        file = folder / "train" / f"{name}.jpg"
        if number >= DISTINCT:
            os.link(folder / "train" / f"{names[number % DISTINCT]}.jpg", file)
            continue
        coarse = random.integers(0, 256, (SIZE[0] // 64, SIZE[1] // 64, 3)).astype(float)
        smooth = np.kron(coarse, np.ones((64, 64, 1))) + random.normal(0, 12, (*SIZE, 3))
        file.write_bytes(encode_jpeg(np.clip(smooth, 0, 255).astype(np.uint8), 85))
    return names, sum(path.stat().st_size for path in (folder / "train").iterdir())


SERVER = """
import asyncio, sys
from aiohttp import web

async def main():
    app = web.Application()
    app.router.add_static("/", sys.argv[1])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def run(way: str, url: str, names: Path, out: Path) -> Measured:
    """Measure a way in a new process, and check that every photograph has arrived."""
    python = own_environment() if way == IMG2DATASET else [sys.executable]
    command = [*python, __file__, "--way", way, "--url", url, "--names", str(names), "--out", str(out)]
    environment = {**os.environ, "NO_PROXY": "127.0.0.1"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    count, arrived = len(json.loads(names.read_text())), len(list(out.rglob("*.jpg")))
    assert arrived == count, f"{way}: {arrived} of {count} photographs"
    subprocess.run(["rm", "-r", str(out)], check=True)
    os.sync()  # so that a way does not wait for the disk that the one before it kept busy
    return Measured(*json.loads(done.stdout.splitlines()[-1]))


def measure(way: Callable[[str, Sequence[str], Path], None], url: str, names: Sequence[str], out: Path) -> Measured:
    """Measure a way in this process. What it starts counts too."""
    for module in ("img2dataset",) if way is img2dataset else ("aiohttp", "ml.download.transfer"):
        importlib.import_module(module)
    (out / "train").mkdir(parents=True)
    started, worked = time.perf_counter(), cpu()
    way(url, names, out)
    return Measured(time.perf_counter() - started, cpu() - worked)


def cpu() -> float:
    """Return the CPU seconds of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def project(url: str, names: Sequence[str], out: Path) -> None:
    """Fetch with this project's transfer."""
    from ml.config.download import DownloadConfig
    from ml.download.progress import LogProgress
    from ml.download.transfer import Wanted, fetch_photographs

    config = DownloadConfig(photographs_url=url, connections=CONNECTIONS)
    wanted = [Wanted("train", name) for name in names]
    outcome = fetch_photographs(wanted, str(out), config, LogProgress("photographs", len(wanted)), 0)
    assert not outcome.failures


def plain(url: str, names: Sequence[str], out: Path) -> None:
    """Fetch with a plain loop that decodes between two requests."""
    asyncio.run(loop(url, names, out, threads=False))


def plain_threads(url: str, names: Sequence[str], out: Path) -> None:
    """Fetch with a plain loop that decodes and writes in threads."""
    asyncio.run(loop(url, names, out, threads=True))


async def loop(url: str, names: Sequence[str], out: Path, threads: bool) -> None:
    """Fetch, decode and write the photographs, with no retries and no care for a crash."""
    import aiohttp

    from ml.download.transfer import check_whole

    def keep(name: str, data: bytes) -> None:
        check_whole(data)
        (out / "train" / f"{name}.jpg").write_bytes(data)

    async def fetch(queue: list[str]) -> None:
        while queue:
            name = queue.pop()
            async with session.get(f"{url}/train/{name}.jpg") as answer:
                answer.raise_for_status()
                data = await answer.read()
            if threads:
                await asyncio.to_thread(keep, name, data)
            else:
                keep(name, data)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONNECTIONS)) as session:
        queue = list(names)
        await asyncio.gather(*(fetch(queue) for _ in range(CONNECTIONS)))


def img2dataset(url: str, names: Sequence[str], out: Path) -> None:
    """Fetch with img2dataset, which decodes and encodes each photograph."""
    from img2dataset import download

    addresses = out / "urls.txt"
    addresses.write_text("\n".join(f"{url}/train/{name}.jpg" for name in names))
    download(
        url_list=str(addresses),
        output_folder=str(out / "files"),
        output_format="files",
        processes_count=os.cpu_count(),
        thread_count=CONNECTIONS,
        resize_mode="no",
    )


def own_environment() -> list[str]:
    """Return the command of a Python that has img2dataset: it asks for other versions than this project's lock file."""
    uv = shutil.which("uv", path=os.pathsep.join([str(ROOT / ".tools" / "uv" / "bin"), os.environ["PATH"]])) or "uv"
    packages = ("img2dataset==1.47.0", "psutil", "numpy")
    return [uv, "run", "--quiet", "--no-project", "--python", sys.executable, "--with", ",".join(packages), "python"]


def installs_img2dataset() -> bool:
    """Return whether img2dataset could be installed; say so if it could not."""
    try:
        subprocess.run([*own_environment(), "-c", "import img2dataset"], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"img2dataset could not be installed, so it is left out: {getattr(error, 'stderr', error)}\n")
        return False
    return True


IMG2DATASET = "img2dataset"
WAYS = {
    "this project's transfer": project,
    "a plain aiohttp loop that decodes between requests": plain,
    "a plain aiohttp loop that decodes in threads": plain_threads,
    IMG2DATASET: img2dataset,
}


if __name__ == "__main__":
    sys.exit(main())
