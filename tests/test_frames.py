"""Frames: the newest wins, files wait, what is lost is opened again."""

import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
import pytest

from anomaly.errors import SteerAnomalyError
from anomaly.line import frames as module
from anomaly.line.frames import Frames, SourceLost, VideoSource, source_of
from anomaly.line.triggers import Every


class Counting:
    """Gives `count` pictures that show their number, one in `interval` seconds; then the end, or an error."""

    def __init__(self, count, interval=0.0, error=None):
        self.left, self.interval, self.error, self.number, self.closed = count, interval, error, 0, False

    def read(self):
        time.sleep(self.interval)
        if self.number == self.left:
            if self.error:
                raise self.error
            return None
        self.number += 1
        return np.full((2, 2, 3), self.number, np.uint8)

    def close(self):
        self.closed = True


def taken(frames, pause=0.0):
    found = []
    while not frames.ended:
        if (frame := frames.take(0.05)) is not None:
            found.append(int(frame.image[0, 0, 0]))
            time.sleep(pause)
    return found


def test_a_file_waits_and_nothing_is_dropped():
    with Frames(lambda: Counting(20), Every(), live=False) as frames:
        assert taken(frames, pause=0.002) == list(range(1, 21))
    assert (frames.seen, frames.dropped) == (20, 0)


def test_a_camera_faster_than_the_model_is_never_behind():
    source = Counting(200, interval=0.002)
    with Frames(lambda: source, Every(), live=True, depth=1, warn=[].append) as frames:
        found, behind = [], []
        while frames.seen < 190:
            if (frame := frames.take(0.05)) is not None:
                found.append(int(frame.image[0, 0, 0]))
                behind.append(frames.seen - frame.number)
                time.sleep(0.03)  # the model
    assert found == sorted(set(found)) and len(found) < 150
    assert frames.dropped > 40 and frames.seen - frames.dropped - len(found) <= 1
    assert np.median(behind) <= 1  # whatever came while the model was at work, the last one is taken


def test_the_queue_is_bounded_and_those_who_wait_for_a_dropped_frame_are_told():
    from concurrent.futures import Future

    answers = []

    class Asking(Every):
        def wants(self, frame, began):
            answers.append(Future())
            frame.answers.append(answers[-1])
            return True

    with Frames(lambda: Counting(5), Asking(), live=True, depth=2, warn=[].append) as frames:
        while frames.seen < 5:
            time.sleep(0.01)
        assert [int(frames.take(1).image[0, 0, 0]) for _ in range(2)] == [4, 5]
    assert frames.dropped == 3
    assert [one.number for one in frames.missed()] == [1, 2, 3] and frames.missed() == []
    with pytest.raises(SourceLost, match="dropped"):
        answers[0].result(0)
    assert not answers[4].done()


def test_a_lost_camera_is_opened_again_and_told_of_once(monkeypatch):
    monkeypatch.setattr(module, "FIRST_WAIT", 0.01)
    said, sources = [], [Counting(2, error=SourceLost("cable")), None, None, Counting(3)]

    def opened():
        if not sources:
            return Counting(0)
        if (source := sources.pop(0)) is None:
            raise SourceLost("not there")
        return source

    with Frames(opened, Every(), live=True, depth=9, warn=said.append) as frames:
        found, until = [], time.monotonic() + 5
        while len(found) < 5 and time.monotonic() < until:
            if (frame := frames.take(0.05)) is not None:
                found.append(int(frame.image[0, 0, 0]))
    assert found == [1, 2, 1, 2, 3]
    assert "cable" in said[0] and len(said) <= 2  # once for each time that it was lost


def test_a_file_that_cannot_be_read_is_an_error(tmp_path):
    (tmp_path / "no.avi").write_bytes(b"no video")
    opened, live = source_of(str(tmp_path / "no.avi"))
    assert not live
    with Frames(opened, Every(), live) as frames, pytest.raises(SteerAnomalyError, match="cannot open"):
        taken(frames)


def test_sources_by_what_was_typed(tmp_path):
    assert source_of("0")[1] and source_of("rtsp://me:pw@host/1")[1]
    with pytest.raises(SteerAnomalyError, match="camera's number"):
        source_of(str(tmp_path / "nothing.mp4"))
    assert "pw" not in module._shown("rtsp://me:pw@host/1")


def video(path, count, side=64):
    """A video whose frames are red in RGB and brighter one by one."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (side, side))
    for number in range(count):
        image = np.zeros((side, side, 3), np.uint8)
        image[..., 2] = 100 + 10 * number  # OpenCV's third is red
        writer.write(image)
    writer.release()
    return path


def test_a_video_file_comes_whole_in_order_and_as_rgb(tmp_path):
    opened, live = source_of(str(video(tmp_path / "v.avi", 6)))
    found = []
    with Frames(opened, Every(), live) as frames:
        while not frames.ended:
            if (frame := frames.take(0.1)) is not None:
                found.append(frame.image.mean(axis=(0, 1)))
    assert len(found) == 6
    np.testing.assert_allclose([one[0] for one in found], 100 + 10 * np.arange(6), atol=6)
    assert max(one[2] for one in found) < 10


def stream(count):
    """An MJPEG server that ends each answer after `count` frames."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            for number in range(count):
                image = np.full((48, 64, 3), 100 + number, np.uint8)
                data = cv2.imencode(".jpg", image)[1].tobytes()
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                with suppress(OSError):  # whoever listened has gone
                    self.wfile.write(head.encode() + data + b"\r\n")
                time.sleep(0.01)

        def log_message(self, *_):
            pass

    return ThreadingHTTPServer(("127.0.0.1", 0), Handler)


@pytest.mark.slow
def test_a_stream_is_read_and_read_again_when_it_ends(monkeypatch):
    monkeypatch.setattr(module, "FIRST_WAIT", 0.05)
    server = stream(8)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    opened, live = source_of(f"http://127.0.0.1:{server.server_address[1]}/stream.mjpg")
    said = []
    try:
        with Frames(opened, Every(), live, depth=100, warn=said.append) as frames:
            until = time.monotonic() + 20
            while frames.seen < 12 and time.monotonic() < until:
                time.sleep(0.05)
            assert frames.seen >= 12  # more than one connection gives
            assert frames.take(1).image.shape == (48, 64, 3)
    finally:
        server.shutdown()
        server.server_close()


def test_a_stream_that_is_not_there_is_lost():
    with pytest.raises(SourceLost, match="cannot open"):
        VideoSource("http://127.0.0.1:1/stream")
