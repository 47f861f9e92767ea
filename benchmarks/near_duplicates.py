"""Measure the search for near-duplicate photographs: `make bench BENCH=near_duplicates`.

    python benchmarks/near_duplicates.py [--hashes 1000000] [--scenes 2000] [--release FOLDER]

Prints seconds and peak memory for random hashes, one in fifty of which has a near-duplicate, and for a tenth of them.
Then the pairs found among scenes with real faces, whose generator plants near-duplicates: how many of those planted are
found, and how many others, by the largest distance. This part needs the optional folder of test data
`../shared/realfaces`, and is skipped with a message without it; `--release` reads a release that exists.

Prints Markdown for `benchmarks/README.md`.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import multiprocessing
import os
import platform
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from chips import SCENES, make_release

from ml.features.duplicates import BITS, MAX_DISTANCE, near_duplicates

DISTANCES = (0, 2, 4, MAX_DISTANCE, 8, 10)


def main() -> int:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hashes", type=int, default=1_000_000, help="random hashes")
    parser.add_argument("--scenes", type=int, default=2000, help="scenes with real faces")
    parser.add_argument("--release", type=Path, help="a release of scenes that exists, instead of a new one")
    arguments = parser.parse_args()
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    print(f"{datetime.date.today()}, {machine}\n")
    print("| random hashes | pairs planted | pairs found | seconds | CPU seconds | peak memory, MB |")
    print("|---|---|---|---|---|---|")
    for count in (arguments.hashes // 10, arguments.hashes):
        with multiprocessing.get_context("spawn").Pool(1) as pool:  # a process of its own, for the peak of its memory
            print(pool.apply(random_hashes, (count,)))
    print()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.release or SCENES.exists():
            scenes(arguments.release or make_release(Path(folder, "release"), arguments.scenes))
        else:
            print("Scenes: skipped, because ../shared/realfaces with real faces does not exist.")
    return 0


def random_hashes(count: int) -> str:
    """Search random hashes; return a row of the table."""
    random = np.random.default_rng(0)
    hashes = random.integers(0, 1 << BITS, count, dtype=np.uint64)
    planted = count // 50
    flips = np.zeros(planted, np.uint64)
    for _ in range(MAX_DISTANCE):
        flips |= np.uint64(1) << random.integers(0, BITS, planted).astype(np.uint64)
    hashes[-planted:] = hashes[:planted] ^ flips
    started, worked = time.perf_counter(), time.process_time()
    pairs = near_duplicates(hashes.view(np.int64))
    pairs.groups(count)
    seconds, cpu = time.perf_counter() - started, time.process_time() - worked
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    return f"| {count:,} | {planted:,} | {len(pairs.first):,} | {seconds:.1f} | {cpu:.1f} | {peak} |"


def scenes(release: Path) -> None:
    """Print the pairs among the scenes of a release by distance, and whether they are planted."""
    hashes = hash_photographs(release)
    ids = list(hashes)
    planted = {
        frozenset((scene, twin))
        for number in range(len(ids))
        if (scene := scene_id(f"0-{number}")) in hashes and (twin := scene_id(f"twin-0-{number}")) in hashes
    }
    print(f"| {len(ids):,} scenes, {len(planted)} planted pairs: bits that differ, at most | planted found | others |")
    print("|---|---|---|")
    for distance in DISTANCES:
        pairs = near_duplicates(np.array(list(hashes.values())), distance)
        found = {frozenset((ids[one], ids[other])) for one, other in zip(pairs.first, pairs.second, strict=True)}
        limit = " (the limit)" if distance == MAX_DISTANCE else ""
        print(f"| {distance}{limit} | {len(found & planted)} | {len(found - planted)} |")


def scene_id(name: str) -> str:
    """Return the image id that the generator gives a scene, or with `twin-` before it, its near-duplicate."""
    return hashlib.sha256(name.encode()).hexdigest()[:16]


def hash_photographs(release: Path) -> dict[str, int]:
    """Return the hashes of the photographs of a release that can be read."""
    from ml.vision.hashing import perceptual_hash
    from ml.vision.images import UnreadableImageError, decode

    hashes = {}
    for file in sorted(release.glob("*/*.jpg")):
        try:
            hashes[file.stem] = perceptual_hash(decode(file.read_bytes()))
        except UnreadableImageError:
            continue  # cut short on purpose
    return hashes


if __name__ == "__main__":
    sys.exit(main())
