"""The engine for many machines: Ray Data, here or on a cluster; the same list, the same rows, the same table.

Ray's own checkpoint keeps what is done, by id, and commits in two phases (`ray.data.checkpoint`, Ray 2.60): a pending
file of ids, the data, a rename. One chapter at a time, so that no more than its ids are ever in memory.
"""

from __future__ import annotations

import importlib
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread
from typing import Any

import pyarrow as pa

from anomaly.archive.columns import ERRORS, IMAGES, PARQUET, table_of
from anomaly.archive.examining import Examiner, Row
from anomaly.archive.local_engine import Progress, Tell, TooManyErrors, over_the_limit, too_many
from anomaly.archive.manifest import Manifest, chapter_name
from anomaly.archive.places import Place, store_of, told
from anomaly.archive.retrying import go_through
from anomaly.archive.table import CHECKPOINTS, close, closed, read_rows
from anomaly.errors import SteerAnomalyError
from anomaly.runs.rows import FAILURES

KIND, CHAPTER = "table", "chapter"  # columns that become folders, and are in no file
EACH_TOLD = 16  # rows between two words to the driver
SPARE = 2  # logical cores beside the workers' for reading the list, writing and the checkpoint
POLL = 1.0  # seconds


def run(
    place: Place,
    manifest: Manifest,
    make: Callable[[], Examiner],
    workers: int | None,
    address: str | None,
    on_cpu: bool = True,
    most_errors: float | None = None,
    tell: Tell = lambda progress: None,
) -> Counter[str]:
    """As `local_engine.run`, on the Ray cluster at `address`, or one that is started here; each worker calls `make`.

    Raises `SteerAnomalyError` where the cluster cannot be reached or gives up.
    """
    counts: Counter[str] = Counter()
    with told(place, "the table"):
        go_through(place)
        known = closed(place)
    done = failed = 0
    with _cluster(address, workers) as count:
        for chapter, rows in enumerate(manifest.chapters):
            if chapter not in known:
                with told(place, "the table"):
                    there, without = _there(place, chapter)
                with _followed(tell, manifest.images, done + there, failed + without, most_errors) as counter:
                    _work_on(place, manifest, chapter, make, count, on_cpu, counter)
                with told(place, "the table"):
                    known[chapter] = close(place, chapter)
                    place.remove(f"{CHECKPOINTS}/{chapter_name(chapter)}")
            done += rows
            failed += sum(known[chapter].get(one, 0) for one in FAILURES)
            counts.update(known[chapter])
            tell(Progress(done, failed, manifest.images))
            too_many(failed, most_errors)
    return counts


def _work_on(
    place: Place,
    manifest: Manifest,
    chapter: int,
    make: Callable[[], Examiner],
    workers: int,
    on_cpu: bool,
    counter: Any,
) -> None:
    import ray
    from ray.data.checkpoint import CheckpointConfig

    from anomaly.archive.ray_source import ListedImages

    context = ray.data.DataContext.get_current()
    context.checkpoint_config = CheckpointConfig(
        id_column="id",
        checkpoint_path=place.full(f"{CHECKPOINTS}/{chapter_name(chapter)}"),
        delete_checkpoint_on_success=False,  # only when the chapter was checked
        override_filesystem=_filesystem(place),
    )
    shards = manifest.shards(chapter)
    try:
        listed = ray.data.read_datasource(ListedImages(place, shards), override_num_blocks=len(shards))
        rows = listed.map_batches(
            _Worker,
            fn_constructor_args=(make, chapter_name(chapter), counter),
            batch_size=None,  # a block, that is a shard
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=min(workers, len(shards))),
            num_cpus=1 if on_cpu else 0,
            num_gpus=0 if on_cpu else 1,
        )
        rows.write_parquet(
            _bare(place),
            partition_cols=[KIND, CHAPTER],
            partitioning_flavor=None,  # images/chapter-00000/, as the local engine has it
            filesystem=_filesystem(place),
            ray_remote_args={"num_cpus": 0.5},
            **PARQUET,
        )
    except (ray.exceptions.RayError, OSError) as error:
        raise _why(error, counter) from error
    finally:
        context.checkpoint_config = None


class _Worker:
    """An actor: one model, a shard at a time. The next pictures are fetched while one is inspected."""

    def __init__(self, make: Callable[[], Examiner], chapter: str, counter: Any) -> None:
        self.examiner, self.chapter, self.counter = make(), chapter, counter

    def __call__(self, listed: pa.Table) -> Iterator[pa.Table]:
        """Entries of a shard -> the rows of their images, with the folders where they belong."""
        from anomaly.archive.ray_source import entries_in

        rows: list[Row] = []
        for row in self.examiner.rows(entries_in(listed)):
            rows.append(row)
            if len(rows) % EACH_TOLD == 0 or len(rows) == len(listed):
                self._tell(rows[-(len(rows) % EACH_TOLD or EACH_TOLD) :])
        kinds = [ERRORS if row["verdict"] in FAILURES else IMAGES for row in rows]
        yield (
            table_of(rows)
            .append_column(KIND, pa.array(kinds, pa.string()))
            .append_column(CHAPTER, pa.array([self.chapter] * len(rows), pa.string()))
        )

    def _tell(self, rows: list[Row]) -> None:
        import ray

        failed = sum(row["verdict"] in FAILURES for row in rows)
        go_on = True
        with suppress(
            ray.exceptions.RayError
        ):  # a counter that died with its node comes back, and is not worth a row
            go_on = ray.get(self.counter.add.remote(len(rows), failed))
        if not go_on:
            raise TooManyErrors("more images have no result than --max-errors allows")


class _Counter:
    """An actor that adds up what workers did, for the bar and for `--max-errors`; no row hangs on it."""

    def __init__(self, failed: int, most_errors: float | None) -> None:
        self.done, self.failed, self.before, self.most = 0, 0, failed, most_errors

    def add(self, done: int, failed: int) -> bool:
        """Whether to go on."""
        self.done += done
        self.failed += failed
        return self.most is None or self.before + self.failed <= self.most

    def said(self) -> tuple[int, int]:
        """Images done in this run, and how many have no result, those before it as well."""
        return self.done, self.before + self.failed


@contextmanager
def _followed(tell: Tell, images: int, done: int, failed: int, most_errors: float | None) -> Iterator[Any]:
    """A counter for workers, whose word is passed on to `tell` from time to time."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    remote: Any = ray.remote
    counter = remote(num_cpus=0, max_restarts=-1, scheduling_strategy=here)(_Counter).remote(
        failed, most_errors
    )
    over = Event()

    def follow() -> None:
        while not over.wait(POLL):
            with suppress(ray.exceptions.RayError):
                more, without = ray.get(counter.said.remote())
                tell(Progress(min(done + more, images), without, images))

    thread = Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield counter
    finally:
        over.set()
        thread.join()
        ray.kill(counter)


@contextmanager
def _cluster(address: str | None, workers: int | None) -> Iterator[int]:
    """Connected to a cluster while inside; how many workers there are to be."""
    import ray

    from anomaly import threads

    mine = not ray.is_initialized()
    importlib.import_module("ray.data")  # which sets up its logger
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    if mine:
        cores = None if address else (workers or threads.available()) + SPARE
        try:
            ray.init(
                address or "local",  # and not one that happens to run here
                num_cpus=cores,
                include_dashboard=None if address else False,
                logging_level=logging.ERROR,
                log_to_driver=False,
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise SteerAnomalyError(
                f"expected a Ray cluster at {address or 'this machine'}: {error}"
            ) from error
    ray.data.DataContext.get_current().enable_progress_bars = False
    try:
        yield workers or max(1, int(ray.cluster_resources().get("CPU", 1)) - SPARE)
    finally:
        if mine:
            ray.shutdown()


def _why(error: Exception, counter: Any) -> SteerAnomalyError:
    import ray

    with suppress(ray.exceptions.RayError):
        _, failed = ray.get(counter.said.remote())
        if "TooManyErrors" in str(error):
            return over_the_limit(failed)
    last = str(error).strip().splitlines()[-1:] or [type(error).__name__]
    return SteerAnomalyError(
        f"Ray gave up: {last[0]}; what is done stays: run the same command again to go on"
    )


def _there(place: Place, chapter: int) -> tuple[int, int]:
    """Rows of an earlier, unfinished run: of images and errors together, of errors alone. For the bar."""
    rows = {
        kind: sum(table.num_rows for table in read_rows(place, kind, chapter, ["id"]))
        for kind in (IMAGES, ERRORS)
    }
    return rows[IMAGES] + rows[ERRORS], rows[ERRORS]


def _bare(place: Place) -> str:
    return place.url.split("://", 1)[1] if place.remote else place.url


def _filesystem(place: Place) -> Any:
    """As Ray takes it; None for the disk of this machine, which all of a cluster have to share."""
    if not place.remote:
        return None
    from pyarrow.fs import FSSpecHandler, PyFileSystem

    return PyFileSystem(FSSpecHandler(store_of(place.url)[0]))
