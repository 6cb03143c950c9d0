"""Bundles: the same maps without torch, for nano and a tiny DINOv2; and everything that may be wrong with one."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from scipy.stats import spearmanr

from anomaly import Inspector
from anomaly.bundle import contents, exporting, parity, runtimes
from anomaly.bundle.contents import BundleError
from anomaly.bundle.exporting import Request
from anomaly.bundle.parity import Picture, Scored, compared, correlation
from anomaly.cli import main
from anomaly.errors import SteerAnomalyError
from steervit import SteerViT
from steervit.inference.onnx_file import ExportError, write_onnx

GOLDEN = Path(__file__).parent / "golden" / "steervit"
FILES = {"trunk": GOLDEN / "trunk.safetensors", "text_encoder": GOLDEN / "tiny-roberta"}
# What may be imported by whoever runs a bundle, beside Python itself.
ALLOWED = ("numpy", "cv2", "PIL", "onnxruntime", "openvino", "anomaly", "steervit")
ALONE = """
import sys
class Only:
    def find_spec(self, name, path=None, target=None):
        top = name.split(".")[0]
        if top not in {allowed} and top not in sys.stdlib_module_names:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Only())
{code}
"""


def part(seed: int, scratched: bool = False) -> np.ndarray:
    """A grainy plate, perhaps with a dark scratch."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:150, :190]
    image = 150 + 25 * np.sin(x / 9) + 15 * np.cos(y / 7) + rng.normal(0, 6, (150, 190))
    if scratched:
        image[60:64, 40:150] = 30
    return np.repeat(image[..., None], 3, 2).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def nano(tmp_path_factory):
    """The inspector of nano, and its bundle for ONNX Runtime, proven on three pictures."""
    out = tmp_path_factory.mktemp("nano") / "bundle"
    inspector = Inspector()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parity, "FEWEST", 3)
        found = exporting.export(
            inspector, "metal_plate", out, Request(), [Picture(part(k, k == 2)) for k in range(3)]
        )
    return inspector, out, found


EVIDENCE = {"self_similarity": 0.3, "dark_lines": 0.5}


def four_blocks() -> SteerViT:
    """The tiny DINOv2 without its last two blocks, since exporting takes a second for each; two are steered."""
    model = SteerViT.from_pretrained(GOLDEN / "steervit.pth", **FILES)
    model.trunk.blocks = model.trunk.blocks[:4]
    model.cross_attention = torch.nn.ModuleDict({i: model.cross_attention[i] for i in ("1", "3")})
    return model


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A tiny DINOv2 with all evidence and two references, and its bundle for OpenVINO."""
    out = tmp_path_factory.mktemp("tiny") / "bundle"
    inspector = Inspector(four_blocks(), **EVIDENCE, references=[part(20), part(21)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parity, "FEWEST", 2)
        patch.setattr(
            parity, "SAME", 1e-3
        )  # random weights: logits hardly differ, and z-scores magnify their rounding
        found = exporting.export(
            inspector, "plate", out, Request("openvino"), [Picture(part(k)) for k in range(2)]
        )
    return inspector, out, found


def alone(code: str, *words: object) -> str:
    done = subprocess.run(
        [sys.executable, "-c", ALONE.format(allowed=ALLOWED, code=code), *map(str, words)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


# The same scores -------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("which", ["nano", "tiny"])
def test_a_bundle_scores_as_its_original(which, request):
    inspector, out, found = request.getfixturevalue(which)
    assert found.map_difference <= (1e-4 if which == "nano" else 1e-3)
    assert (found.flips, found.pictures) == (0, 3 if which == "nano" else 2)
    bundled = Inspector(out)
    name = bundled.bundle.manifest.object
    images = [part(7), part(8, scratched=True)]
    for mine, theirs in zip(
        bundled.inspect_batch(images, name), inspector.inspect_batch(images, name), strict=True
    ):
        unit = max(1, abs(theirs.heatmap).max())
        assert np.abs(mine.heatmap - theirs.heatmap).max() <= (1e-4 if which == "nano" else 1e-3) * unit
        assert mine.verdict == theirs.verdict
        assert set(mine.parts) == set(theirs.parts)
    assert bundled.settings.hash == inspector.settings.hash
    assert bundled.describe()["bundle"] == bundled.bundle.manifest.digest


@pytest.mark.slow
def test_odd_pictures_are_said_the_same_of(nano, tmp_path):
    inspector, out, _ = nano
    plate = Image.fromarray(part(9, scratched=True))
    turned = Image.Exif()
    turned[0x0112] = 6
    plate.save(tmp_path / "turned.jpg", exif=turned)
    Image.fromarray(part(9)[..., 0].astype(np.uint16) * 257).save(tmp_path / "deep.png")
    clear = plate.convert("RGBA")
    clear.putalpha(Image.fromarray(part(10)[..., 0]))
    clear.save(tmp_path / "clear.png")
    plate.resize((1, 1)).save(tmp_path / "one.png")
    plate.resize((900, 7)).save(tmp_path / "wide.png")
    Image.new("RGB", (60, 60)).save(tmp_path / "black.png")
    paths = sorted(tmp_path.iterdir())
    bundled = Inspector(out)
    theirs = inspector.inspect_batch(paths, "metal plate")
    for path, mine, original in zip(paths, bundled.inspect_batch(paths), theirs, strict=True):
        assert mine.heatmap.shape == original.heatmap.shape, path.name
        assert (mine.verdict, mine.score) == (original.verdict, pytest.approx(original.score, abs=1e-4)), (
            path.name
        )
        assert len(mine.regions) == len(original.regions), path.name


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 2, 7])
@pytest.mark.parametrize("which", ["nano", "tiny"])
def test_any_number_of_tiles_at_a_time(which, batch, request):
    inspector, out, _ = request.getfixturevalue(which)
    bundled = Inspector(out).asked
    height, width = bundled.image_size
    tiles = np.random.default_rng(0).integers(0, 255, (batch, height // 8, width // 8, 3), np.uint8)
    tiles = tiles.repeat(8, 1).repeat(8, 2)
    name = "metal plate" if which == "nano" else "plate"
    expected = inspector.asked.segment(tiles, name).maps
    got = bundled.segment(tiles, name).maps
    assert got.shape == expected.shape
    assert np.abs(got - expected).max() < 1e-3


@pytest.mark.slow
def test_it_runs_where_nothing_else_is_installed(nano, tmp_path):
    inspector, out, _ = nano
    Image.fromarray(part(8, scratched=True)).save(tmp_path / "part.png")
    code = (
        "from anomaly import Inspector\nfound = Inspector(sys.argv[1]).inspect(sys.argv[2])\nprint(found.score)\n"
        "assert 'torch' not in sys.modules"
    )
    score = float(alone(code, out, tmp_path / "part.png"))
    assert score == pytest.approx(inspector.inspect(tmp_path / "part.png", "metal_plate").score, abs=1e-4)


@pytest.mark.slow
def test_the_commands_take_a_bundle_and_need_no_torch(nano, tiny, tmp_path):
    _, out, _ = nano
    for k in range(2):
        Image.fromarray(part(30 + k)).save(tmp_path / f"{k}.png")
    compared = ["inspect", "--model", tiny[1], tmp_path, "--out", tmp_path / "compared", "--mutual", "on"]
    blocked = ("torch", "timm", "transformers", "torchvision", "sklearn", "onnx", "huggingface_hub")
    code = f"""
import sys
class Without:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Without())
from anomaly.cli import main
main(prog_name="steer-anomaly")
"""
    words = [
        ["inspect", "--model", out, tmp_path, "--out", tmp_path / "results", "--quiet"],
        ["verify", out],
        [*compared, "--quiet"],
    ]
    done = [
        subprocess.run(
            [sys.executable, "-c", code, *map(str, one)], capture_output=True, text=True, check=False
        )
        for one in words
    ]
    assert [one.returncode for one in done] == [0, 0, 0], done
    assert "scores here as it did" in done[1].stdout
    run = json.loads((tmp_path / "results" / "run.json").read_text())
    assert run["object"] == "metal plate"
    assert "onnxruntime" in run["versions"]


@pytest.mark.slow
def test_verify_says_which_precision_the_processor_used(tiny, monkeypatch):
    _, out, _ = tiny
    monkeypatch.setattr(parity, "SAME", 1e-3)  # as when it was exported
    done = CliRunner().invoke(main, ["verify", str(out)])
    assert done.exit_code == 0, done.output
    assert "products in f32" in done.output


@pytest.mark.slow
def test_what_decides_a_score_is_fixed(nano):
    _, out, _ = nano
    with pytest.raises(SteerAnomalyError, match="another smooth"):
        Inspector(out, smooth=9.0)
    with pytest.raises(SteerAnomalyError, match="'metal plate', got 'cable'"):
        Inspector(out).inspect(part(0), "cable")
    with pytest.raises(SteerAnomalyError, match="bundles run on CPUs"):
        Inspector(out, device="cuda")
    with pytest.raises(SteerAnomalyError, match="a bundle of graphs"):
        _ = Inspector(out).model
    assert Inspector(out, threshold=0.5).point.threshold == 0.5


@pytest.mark.slow
def test_a_default_that_is_typed_out_is_no_silence(nano, tmp_path):
    _, out, _ = nano
    other = tmp_path / "bundle"
    shutil.copytree(out, other)
    settings = json.loads((other / contents.FILE).read_text())["settings"]
    edited(other, settings=settings | {"omega": 2.0, "ensemble": "fused"})
    Image.fromarray(part(1)).save(tmp_path / "part.png")
    told = ["inspect", "--model", str(other), str(tmp_path / "part.png"), "--out", str(tmp_path / "results")]
    for option, value in (("--omega", "1.0"), ("--ensemble", "exact")):
        done = CliRunner().invoke(main, [*told, option, value])
        assert done.exit_code == 2 and f"{option} as the bundle was exported" in done.output


@pytest.mark.slow
def test_pictures_of_a_run_are_compared_as_by_the_original(tiny):
    inspector, out, _ = tiny
    pictures = [part(40 + k, k == 3) for k in range(5)]
    original = Inspector(four_blocks(), **EVIDENCE, references=inspector.references, mutual=True)
    bundled = Inspector(out, mutual=True)
    assert bundled.settings.hash == original.settings.hash != inspector.settings.hash
    both = (one.inspect_set(pictures, "plate") for one in (bundled, original))
    for mine, theirs in zip(*both, strict=True):
        assert (mine.closest, mine.compared_with, mine.verdict) == (theirs.closest, 4, "unjudged")
        assert set(mine.parts) == set(theirs.parts) and "company" in mine.parts
        assert np.abs(mine.heatmap - theirs.heatmap).max() <= 2e-3 * max(1, abs(theirs.heatmap).max())
        assert mine.score == pytest.approx(theirs.score, rel=2e-3)


@pytest.mark.slow
def test_a_bundle_that_cannot_compare_says_so(nano, tiny):
    _, out, _ = nano
    with pytest.raises(SteerAnomalyError, match="export another one with --mutual"):
        Inspector(out, mutual=True)
    with pytest.raises(SteerAnomalyError, match="another company"):
        Inspector(tiny[1], mutual=True, references=[part(50)])


# Bad bundles -----------------------------------------------------------------------------------------------------


@pytest.fixture
def copy(tmp_path):
    """A small bundle that was never a model's: two files and a manifest."""
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "look.onnx").write_bytes(b"graph")
    (folder / "steer.onnx").write_bytes(b"another")
    settings = Inspector().settings
    made = contents.Manifest(
        object="plate", runtime="onnx", precision="fp32", settings=settings.to_dict(), texts=(), prompt_set="default",
        description="eyes", model={"name": "nano", "about": "", "licence": ""}, grid_size=(32, 32),
        graphs={"look": "look.onnx", "steer": "steer.onnx"}, files=contents.hashed(folder), created="", tool_version="",
        versions={},
    )  # fmt: skip
    made.save(folder)
    return folder, made


def test_what_was_written_is_read(copy):
    folder, made = copy
    assert contents.read(folder).digest == made.digest
    assert contents.is_bundle(folder) and not contents.is_bundle(folder.parent)
    assert not contents.is_bundle(torch.nn.Identity())


def edited(folder, **changes):
    """Change a manifest as whoever knows the checksum would."""
    content = json.loads((folder / contents.FILE).read_text()) | changes
    content.pop("checksum")
    checksum = contents._checksum(content)
    (folder / contents.FILE).write_text(json.dumps(content | {"checksum": checksum}))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: edited(f, version=7), "version 1, got version 7"),
        (lambda f: edited(f, format="other"), "something else"),
        (lambda f: edited(f, runtime="tensorrt"), "a runtime of 'tensorrt'"),
        (lambda f: edited(f, more=1), "unknown keys more"),
        (lambda f: edited(f, graphs={"look": "other.onnx"}), "no hash of other.onnx"),
        (lambda f: edited(f, files={"../look.onnx": "00"}, graphs={}), "leads out of the bundle"),
        (lambda f: edited(f, files={"/etc/passwd": "00"}, graphs={}), "leads out of the bundle"),
        (lambda f: edited(f, files={"C:\\x": "00"}, graphs={}), "leads out of the bundle"),
        (lambda f: (f / "look.onnx").write_bytes(b"gra"), "truncated or was changed"),
        (lambda f: (f / "look.onnx").unlink(), "look.onnx is missing"),
        (lambda f: (f / contents.FILE).write_text('{"format"'), "truncated or of another kind"),
        (lambda f: (f / contents.FILE).write_text("[1]"), "got a list"),
        (lambda f: (f / contents.FILE).write_text((f / contents.FILE).read_text().replace("plate", "cable")),
         "does not match its checksum"),
        (lambda f: (f / contents.FILE).unlink(), "there is no bundle.json"),
    ],
)  # fmt: skip
def test_a_bundle_that_is_not_as_it_was_written_is_refused(copy, spoil, said):
    folder, _ = copy
    spoil(folder)
    with pytest.raises(BundleError, match=said):
        contents.read(folder)


def test_a_link_out_of_the_bundle_is_refused(copy, tmp_path):
    folder, _ = copy
    (tmp_path / "elsewhere").write_bytes(b"graph")
    (folder / "look.onnx").unlink()
    (folder / "look.onnx").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleError, match="a link out of the bundle"):
        contents.read(folder)


def test_a_graph_that_the_runtime_cannot_read_is_said(copy):
    folder, _made = copy
    with pytest.raises(BundleError, match="cannot be run by the onnxruntime that is installed"):
        runtimes.open_graph(folder / "look.onnx", "onnx", "fp32", 1)


def test_a_runtime_that_is_not_installed_is_said(copy, monkeypatch):
    folder, _ = copy
    monkeypatch.setattr(runtimes, "find_spec", lambda name: None)
    with pytest.raises(BundleError, match="pip install openvino"):
        runtimes.open_graph(folder / "look.onnx", "openvino", "fp32", 1)


SIGNALLED = """
import ctypes, gc, os, signal, sys
from pathlib import Path
from anomaly.bundle.runtimes import open_graph

class Stack(ctypes.Structure):
    _fields_ = [("start", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]

def stack():
    found = Stack()
    assert ctypes.CDLL(None).sigaltstack(None, ctypes.byref(found)) == 0
    return found.start, found.flags, found.size

handled = []
signal.signal(signal.SIGUSR1, lambda *_: handled.append(1))
before = stack()
graphs = [open_graph(Path(sys.argv[1]), "openvino", "fp32", 1) for _ in range(2)]
assert stack() == before, (stack(), before)
graphs.pop(0)
gc.collect()
graphs.pop(0)
gc.collect()
os.kill(os.getpid(), signal.SIGUSR1)
print(len(handled))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="signal stacks as Linux has them")
def test_openvino_leaves_signals_to_python(tiny):
    _, out, _ = tiny
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", SIGNALLED, str(next(out.glob("*.xml")))],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr


def test_bf16_on_a_processor_without_it_is_refused(tmp_path, monkeypatch):
    class Older:
        def get_property(self, device, name):
            return ["FP32", "INT8"]

    monkeypatch.setattr(runtimes, "openvino_core", Older)
    with pytest.raises(BundleError, match=r"bfloat16, and this one has FP32, INT8 only"):
        runtimes.open_graph(tmp_path / "steer.xml", "openvino", "bf16", 1)


# Bad exports -----------------------------------------------------------------------------------------------------


class Unwritable(torch.nn.Module):
    def forward(self, x):
        return torch.linalg.cholesky(x)


@pytest.mark.slow
def test_an_operator_that_no_runtime_has_is_said_at_export(tmp_path):
    with pytest.raises(ExportError, match="cholesky"):
        write_onnx(Unwritable(), torch.eye(3).expand(2, 3, 3).clone(), tmp_path / "x.onnx", ["x"], ["y"])


def test_combinations_that_do_not_exist_are_refused(tmp_path):
    from anomaly.bundle.graphs import Wanted

    for runtime, precision in (("onnx", "bf16"), ("torch", "int8")):
        with pytest.raises(BundleError, match=f"{runtime} computes in on a processor, got {precision}"):
            Wanted(runtime, precision, False)
    with pytest.raises(BundleError, match="judged one at a time"):
        exporting.export(Inspector(mutual=True), "plate", tmp_path / "b", Request())
    (tmp_path / "mine").mkdir()
    with pytest.raises(BundleError, match="it is no bundle, so it is left alone"):
        exporting.export(Inspector(), "plate", tmp_path / "mine", Request(overwrite=True))


@pytest.mark.slow
def test_other_scores_are_no_bundle(nano, tmp_path, monkeypatch):
    _inspector, bundle, _ = nano
    made = contents.read(bundle)

    def copied(inspector, object, folder, request, calibrating):
        for name in made.files:
            if name != parity.FILE:
                (folder / name).write_bytes((bundle / name).read_bytes())
        return replace(made, files=contents.hashed(folder))

    monkeypatch.setattr(exporting, "_written", copied)
    monkeypatch.setattr(parity, "FEWEST", 1)
    other = Inspector(self_similarity=0.4)
    with pytest.raises(BundleError, match="do not score as nano does: expected maps within"):
        exporting.export(other, "metal_plate", tmp_path / "b", Request(), [Picture(part(0))])
    assert list(tmp_path.iterdir()) == []


def test_research_weights_say_so_in_their_bundle(tmp_path, monkeypatch):
    inspector = Inspector()
    inspector.record = replace(inspector.record, name="dinov2-base", licence="CC-BY-NC")
    exporting._documents(inspector, tmp_path)
    said = (tmp_path / "LICENCE.txt").read_text()
    notice = exporting._notice("dinov2-base")
    assert notice is not None and notice in said


# Parity ----------------------------------------------------------------------------------------------------------


def test_rank_correlation_is_that_of_scipy():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 9, (12, 7)), rng.normal(size=(12, 7))
    assert correlation(a, b) == pytest.approx(spearmanr(a.ravel(), b.ravel())[0])
    assert correlation(a, a) == pytest.approx(1)
    assert correlation(np.ones(4), np.ones(4)) == 1
    assert correlation(np.ones(4), np.arange(4)) == 0


def test_a_comparison_solved_by_hand():
    mask = np.zeros((4, 4), bool)
    mask[:2, :2] = True
    maps = [np.float32([[1, 0], [0, 0.5]]), np.float32([[0, 0], [0, 0.25]])]
    pictures = [Picture(np.zeros((4, 4, 3), np.uint8), mask), Picture(np.zeros((4, 4, 3), np.uint8))]
    expected = Scored(maps, np.array([0.8, 0.1]))
    got = Scored([maps[0] - np.float32(0.25), maps[1]], np.array([0.4, 0.1]))
    found = compared(expected, got, pictures, 0.5)
    assert (found.map_difference, found.flips, found.pro, found.pro_original) == (0.25, 1, 1.0, 1.0)
    assert found.score_difference == pytest.approx(0.4)
    assert "no flipped verdict" in (found.failure("fp32", 0) or "")
    assert found.failure("int8", 0.01) is None
    assert "PRO" in (replace(found, pro=0.9).failure("bf16", 0.05) or "")
    assert compared(expected, expected, pictures, None).failure("fp32", 0) is None


def test_a_picture_of_a_proof_is_small():
    mask = np.zeros((600, 300), bool)
    mask[300:] = True
    small = Picture(np.zeros((600, 300, 3), np.uint8), mask).small()
    assert small.image.shape == (256, 128, 3)
    assert small.mask is not None and small.mask[130:].all() and not small.mask[:126].any()
