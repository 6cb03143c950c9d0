"""The log of a run: what TensorBoard gets where it is installed, and the one sentence where it is not."""

import sys
from types import ModuleType

from steervit.training.logs import RunLog, read_metrics
from steervit.training.progress import plot_run


def log(folder, words, start=0):
    made = RunLog(folder, 3, start, words.append)
    made.advance(4)
    made.numbers(start + 1, 2.5, 0.25, 1e-3)
    made.validation(start + 1, {"all": 0.5})
    made.close()


def test_without_tensorboard_one_sentence_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    words = []
    log(tmp_path, words)
    told = [text for text in words if "TensorBoard" in text]
    assert told == ["no TensorBoard logs: `pip install 'steer-anomaly[tensorboard]'` gives them"]
    assert [line["step"] for line in read_metrics(tmp_path)] == [1, 1]


def test_tensorboard_gets_every_number_and_forgets_what_is_written_again(tmp_path, monkeypatch):
    written = []

    class Writer:
        def __init__(self, folder, purge_step):
            written.append((folder, purge_step))

        def add_scalar(self, name, value, step):
            written.append((name, value, step))

        def close(self):
            written.append("closed")

    module = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Writer
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    words = []
    log(tmp_path, words, start=1)
    assert not [text for text in words if "TensorBoard" in text]
    assert written[0] == (str(tmp_path / "tensorboard"), 2)
    assert ("train/loss", 2.5, 2) in written
    assert ("validation/all", 0.5, 2) in written
    assert written[-1] == "closed"


def test_steps_without_any_target_leave_a_gap(tmp_path):
    made = RunLog(tmp_path, 3, 0, lambda text: None)
    for step, mass in enumerate([0.2, float("nan"), 0.3], 1):
        made.numbers(step, 1.0, mass, 1e-3)
    made.close()
    assert [line["pmass"] for line in read_metrics(tmp_path)] == [0.2, None, 0.3]
    assert plot_run(tmp_path).stat().st_size > 10_000
