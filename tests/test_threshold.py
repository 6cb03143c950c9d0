"""A threshold belongs to the settings it was measured with, and to nothing else."""

from dataclasses import replace

import pytest

from anomaly import Inspector
from anomaly.decision.threshold import FILE, OperatingPoint, read_defaults, valid_point, with_given
from anomaly.errors import SteerAnomalyError
from anomaly.settings import InspectionSettings

SETTINGS = InspectionSettings(
    "m", (("checkpoint", "a" * 64),), (64, 64), ("the anomaly in the {object}",), (), 1.0, "sigmoid", 0.0, "1",
    0.0, 0.0, "fp32",
)  # fmt: skip
POINT = OperatingPoint(0.9, 0.8, 0.1, "measured", SETTINGS)


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"omega": 0.5}, "omega 1.0, not 0.5"),
        ({"prompts": ("the crack",)}, "prompts 1"),
        ({"contrast": ("the {object}",)}, "contrast"),
        ({"precision": "bf16"}, "precision fp32, not bf16"),
        ({"hashes": (("checkpoint", "b" * 64),)}, "checkpoint aaaaaaaa, not those of checkpoint bbbbbbbb"),
        ({"smooth": 2.0}, "smooth 0.0, not 2.0"),
        ({"image_size": (32, 32)}, "image size"),
        ({"company": "mutual"}, "for pictures judged alone, and these are judged compared with mutual"),
    ],
)
def test_every_setting_that_decides_a_score_takes_the_threshold_away_and_is_named(changed, word):
    point, why = valid_point(POINT, replace(SETTINGS, **changed))
    assert point is None
    assert word in why


def test_the_same_settings_keep_it_whatever_the_model_is_called():
    assert valid_point(POINT, replace(SETTINGS, model="other name")) == (POINT, "")
    assert valid_point(None, SETTINGS)[0] is None


def test_settings_survive_json_and_keep_their_hash():
    again = InspectionSettings.from_dict(SETTINGS.to_dict())
    assert again == SETTINGS and again.hash == SETTINGS.hash
    assert replace(SETTINGS, omega=0.9).hash != SETTINGS.hash
    # A field that is not used says nothing: later versions may add fields without losing what was measured.
    assert "company" not in {n for n, v in SETTINGS.to_dict().items() if v is not None}


def test_each_threshold_moves_alone():
    assert with_given(POINT, 0.5, None, SETTINGS).mask_threshold == 0.8
    assert with_given(POINT, None, 0.3, SETTINGS).threshold == 0.9
    assert with_given(None, 0.5, None, SETTINGS).mask_threshold == 0.5
    assert with_given(None, None, 0.5, SETTINGS) is None


@pytest.mark.parametrize("value", [95.0, float("nan"), float("inf"), -0.1])
def test_a_threshold_no_score_can_reach_is_refused_with_the_range(value):
    with pytest.raises(SteerAnomalyError, match="from 0 to 1"):
        with_given(POINT, value, None, SETTINGS)
    with pytest.raises(SteerAnomalyError, match="from 0 to 1"):
        with_given(POINT, None, value, SETTINGS)
    with pytest.raises(SteerAnomalyError, match="finite"):
        with_given(POINT, float("nan"), None, replace(SETTINGS, activation="logit"))


def test_contrast_prompts_give_differences():
    assert with_given(None, -0.5, None, replace(SETTINGS, contrast=("x",))).threshold == -0.5


@pytest.mark.parametrize(
    "options",
    [{"omega": 0.5}, {"prompts": "contrast"}, {"precision": "bf16"}, {"smooth": 9.0}, {"dark_lines": 0.0}],
)
def test_nano_is_judged_with_its_defaults_only(options):
    assert Inspector().point is not None
    other = Inspector(**options)
    assert other.point is None
    assert next(iter(options)).replace("_", " ").split()[0].rstrip("s") in other.why_unjudged


def test_defaults_lie_in_the_models_own_folder(tmp_path):
    import shutil

    from steervit.weights.catalogue import NANO

    copy = tmp_path / "last"  # what `train` calls its folder
    shutil.copytree(NANO, copy)
    trained = Inspector(copy)
    assert trained.settings.hash == Inspector().settings.hash
    assert trained.point is not None
    (copy / FILE).unlink()
    assert Inspector(copy).settings.activation == "softmax"
    (copy / FILE).write_text("activation: [")
    with pytest.raises(SteerAnomalyError, match="expected the keys activation"):
        read_defaults(copy)
