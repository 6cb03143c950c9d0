"""Ray from an object store into an object store: pictures and table in an S3 server on this machine.

    python benchmarks/archive_s3.py --images 40

Prints the verdicts, and what lies in the table. Judged by brightness, no model.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
PORT = 18777


def main() -> None:
    """Serve, fill, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=40)
    options = parser.parse_args()
    paths = [str(HERE), str(HERE / "tests")]
    sys.path[:0] = paths
    os.environ |= {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    os.environ |= {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{PORT}", "PYTHONPATH": os.pathsep.join(paths)}

    import boto3
    from drawn_archive import draw, examiner
    from moto.server import ThreadedMotoServer

    from anomaly.archive import ray_engine
    from anomaly.archive.entries import entries_of
    from anomaly.archive.manifest import write_manifest
    from anomaly.archive.places import Place

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(port=PORT)
    server.start()
    client = boto3.client("s3")
    client.create_bucket(Bucket="plant")
    with tempfile.TemporaryDirectory() as folder:
        for path in draw(Path(folder), options.images):
            client.upload_file(str(path), "plant", f"in/{path.name}")
    client.put_object(Bucket="plant", Key="in/bad.png", Body=b"no picture")
    place, inputs = Place("s3://plant/table"), ("s3://plant/in/",)
    manifest = write_manifest(place, entries_of(inputs), inputs, True)
    print(dict(ray_engine.run(place, manifest, examiner, 2, None)))
    for found in client.list_objects_v2(Bucket="plant", Prefix="table/")["Contents"]:
        print(f"{found['Size']:8} {found['Key']}")
    server.stop()


if __name__ == "__main__":
    main()
