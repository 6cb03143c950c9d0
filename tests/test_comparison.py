"""Pictures in company: compared with each other and with good ones, on one scale. Drawn parts, nano and its eyes."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from anomaly import Inspector, heatmaps, settings
from anomaly.commands.inspect import inspect
from anomaly.comparison import Comparison, ReferenceSet, compare, sampled, softened
from anomaly.errors import NotJudged, SteerAnomalyError
from anomaly.evidence.border_scale import bordered_scale
from anomaly.evidence.descriptions import content_hash
from anomaly.evidence.mutual_scale import RobustScale
from anomaly.evidence.reference_check import check_part

pytestmark = pytest.mark.slow


def part(seed, defect=False, side=160):
    """A turned plate with three holes under slightly different light; a dent-like blotch where it is defective."""
    random = np.random.default_rng(seed)
    image = np.full((side, side, 3), 60 + random.integers(0, 10), np.float32)
    cv2.circle(image, (side // 2, side // 2), 64, (150, 150, 155), -1, cv2.LINE_AA)
    for angle in (0, 2.1, 4.2):
        centre = (int(side / 2 + 36 * np.cos(angle)), int(side / 2 + 36 * np.sin(angle)))
        cv2.circle(image, centre, 9, (30, 30, 30), -1, cv2.LINE_AA)
    if defect:
        x, y = random.integers(60, 100, 2)
        cv2.ellipse(
            image,
            (int(x), int(y)),
            (11, 6),
            int(random.integers(180)),
            0,
            360,
            (115, 80, 60),
            -1,
            cv2.LINE_AA,
        )
    image *= 1 + 0.05 * random.standard_normal()
    return np.clip(image + random.normal(0, 4, image.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def inspector():
    return Inspector(mutual=True)


def scores(inspector, images):
    return np.array([found.score for found in inspector.inspect_set(images, "plate")])


def test_defective_pictures_stand_out_in_company(inspector):
    images = [part(i, defect=i < 4) for i in range(14)]
    found = scores(inspector, images)
    assert found[:4].min() > found[4:].max()


def test_where_all_are_good_nothing_stands_out(inspector):
    good = scores(inspector, [part(i) for i in range(12)])
    mixed = scores(inspector, [part(i, defect=i == 0) for i in range(12)])
    assert good.max() < mixed[0] / 2  # scores are not stretched until something is found
    assert good.max() < 3 * np.median(good)


def test_where_most_are_defective_the_good_ones_are_still_the_lowest(inspector):
    found = scores(inspector, [part(i, defect=i < 8) for i in range(12)])
    assert found[8:].max() < found[:8].min()


def test_the_order_of_pictures_does_not_matter(inspector):
    images = [part(i, defect=i < 2) for i in range(9)]
    forth, back = scores(inspector, images), scores(inspector, images[::-1])[::-1]
    assert np.array_equal(forth, back)


@pytest.mark.parametrize("images", [[part(0)], [part(0)] * 4])
def test_a_picture_is_never_compared_with_itself_or_its_copy(inspector, images):
    with pytest.raises(SteerAnomalyError, match="at least 2 images of different content"):
        inspector.inspect_set(images, "plate")


def test_copies_in_a_set_get_one_score(inspector):
    images = [part(i, defect=i == 0) for i in range(8)]
    found = scores(inspector, [*images, images[0]])
    assert found[0] == found[-1] == found.max()


def test_black_pictures_of_mixed_sizes_and_aspects_are_answered_with_numbers(inspector):
    images = [np.zeros((90, 60 + i, 3), np.uint8) for i in range(5)] + [part(1)]
    found = inspector.inspect_set(images, "plate")
    assert all(np.isfinite(one.score) for one in found)
    assert [one.heatmap.shape for one in found] == [image.shape[:2] for image in images]


def test_references_judge_one_picture_at_a_time():
    one = Inspector(references=[part(i) for i in range(100, 106)])
    good, bad = (one.inspect(part(7, defect), "plate") for defect in (False, True))
    assert bad.score > 1.5 * good.score
    assert set(bad.parts) == {"text", "self_similarity", "dark_lines", "references"}
    peak = np.unravel_index(bad.heatmap.argmax(), bad.heatmap.shape)
    assert np.abs(part(7, True).astype(int) - part(7).astype(int)).sum(2)[peak] > 20


def test_a_reference_among_the_inputs_is_not_compared_with_its_copy():
    defective = part(3, defect=True)
    one = Inspector(references=[defective, *(part(i) for i in range(100, 105))])
    others = [one.inspect(part(i), "plate").score for i in range(8, 11)]
    assert one.inspect(defective, "plate").score > max(others)


def test_both_kinds_of_company_are_added(inspector):
    both = Inspector(mutual=True, references=[part(i) for i in range(100, 104)])
    found = both.inspect_set([part(i, defect=i == 0) for i in range(6)], "plate")
    assert {"text", "company", "references"} < set(found[0].parts)
    assert found[0].compared_with == 5 and found[0].closest is not None
    assert found[0].score == max(one.score for one in found)


def weave(seed, side=160):
    """Another part altogether: light threads that cross."""
    random = np.random.default_rng(seed)
    image = np.full((side, side, 3), 215, np.float32)
    for at in range(int(random.integers(4, 9)), side, 10):
        image[at : at + 3] -= 60
        image[:, at : at + 3] -= 40
    return np.clip(image + random.normal(0, 6, image.shape), 0, 255).astype(np.uint8)


def test_references_of_another_part_are_said_on_two_kinds_of_parts():
    plates, woven = [part(i) for i in range(4)], [weave(i) for i in range(4)]
    for good, stranger in ((plates, woven), (woven, plates)):
        one = Inspector(references=[*good[:3], (part if good is plates else weave)(50)])
        own, other = ([one.inspect(image, "part").unlike for image in kind] for kind in (good, stranger))
        defective = one.inspect(part(9, defect=True), "part").unlike
        assert check_part(own) is None
        assert check_part(other) is not None and min(other) > max(own)
        assert check_part([*own, *other[:3]]) is None  # both kinds in one folder, fewer of the other
        assert defective < 1 or good is woven  # a defect is odd somewhere, not everywhere
    assert Inspector().inspect(plates[0], "part").unlike is None


def test_a_command_names_strange_references_and_references_of_another_part(tmp_path):
    for folder, images in {
        "ref": [*(part(i) for i in range(5)), weave(0)],
        "img": [weave(i) for i in range(1, 4)],
    }.items():
        (tmp_path / folder).mkdir()
        for number, image in enumerate(images):
            cv2.imwrite(str(tmp_path / folder / f"{number}.png"), image)
    (tmp_path / "ref/torn.png").write_bytes(b"no picture")
    (tmp_path / "ref/copy.png").write_bytes((tmp_path / "ref/0.png").read_bytes())
    given = [str(tmp_path / "img"), "--object", "plate", "--quiet", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(inspect, [*given, "--references", str(tmp_path / "ref")])
    assert result.exit_code == 0, result.output
    for said in ("5.png is unlike all other references", "torn.png", "is the same picture as"):
        assert said in result.output
    (tmp_path / "ref/5.png").unlink()
    result = CliRunner().invoke(inspect, [*given, "--overwrite", "--references", str(tmp_path / "ref")])
    assert "another part? 3 of 3 pictures" in result.output and "unlike all other" not in result.output
    page = (tmp_path / "out/report.html").read_text(encoding="utf-8")
    assert "Look at this." in page and "References of another part?" in page
    result = CliRunner().invoke(
        inspect, [*given, "--references", str(tmp_path / "ref")]
    )  # nothing left to do
    assert "another part? 3 of 3 pictures" in result.output


def test_references_out_of_the_inputs_are_compared_with_the_other_references():
    images = [part(i, defect=i == 0) for i in range(8)]
    one = Inspector(references=images[2:6])
    found = [one.inspect(image, "plate") for image in images]
    unlike = np.array([each.unlike for each in found[1:]])
    among, beside = unlike[1:5], np.delete(unlike, slice(1, 5))
    assert (
        np.ptp(unlike) < 1 and among.min() > -0.5
    )  # a copy of itself would be as like as nothing else can be
    assert abs(among.mean() - beside.mean()) < 0.5
    assert found[0].score == max(each.score for each in found)


@pytest.mark.parametrize("copies", [1, 9])
def test_a_command_says_that_one_picture_is_no_company(copies, tmp_path):
    for number in range(copies):
        cv2.imwrite(str(tmp_path / f"{number}.png"), part(1))
    given = [str(tmp_path), "--object", "plate", "--quiet", "--mutual", "on", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(inspect, given)
    assert result.exit_code != 0 and isinstance(result.exception, SteerAnomalyError)
    assert "at least 2 images of different content" in str(result.exception)


def test_a_command_answers_black_pictures_with_numbers(tmp_path):
    (tmp_path / "img").mkdir()
    for side in range(60, 68):
        cv2.imwrite(str(tmp_path / "img" / f"{side}.png"), np.zeros((side, 80, 3), np.uint8))
    result = CliRunner().invoke(
        inspect, [str(tmp_path / "img"), "--object", "plate", "--quiet", "--out", str(tmp_path / "out")]
    )
    assert result.exit_code == 0, result.output
    assert "each compared with 7 others: 8 unjudged" in result.output
    assert "Ranked, not judged" in result.output and result.output.count("the other pictures of the run") == 1


def test_settings_name_the_company_and_no_threshold_of_another_holds():
    alone, refs = Inspector(), Inspector(references=[part(0)])
    other = Inspector(references=[part(1)])
    assert "1 references" in refs.settings.company
    assert len({alone.settings.hash, refs.settings.hash, other.settings.hash}) == 3
    assert refs.point is None and "compared with 1 references" in refs.why_unjudged
    with pytest.raises(SteerAnomalyError, match="activation logit"):
        Inspector(mutual=True, activation="sigmoid")


def test_a_set_is_asked_for_as_a_set(inspector):
    with pytest.raises(SteerAnomalyError, match="inspect_set"):
        inspector.inspect(part(0))


def test_the_sum_by_hand():
    scale = RobustScale(centre=-3.0, width=2.0)
    own = np.array([[-3.0, 1.0], [-9.0, -1.0]], np.float32)
    total, parts = Comparison(scale).total(own, Comparison(scale).of(_described()))
    assert np.array_equal(total, [[0, 2], [0, 1]])  # what is more ordinary than usual speaks against nothing
    assert list(parts) == ["text"]


def test_what_is_far_odder_than_usual_speaks_by_its_root():
    found = softened(np.array([-3.0, 0.0, 1.5, 2.0, 2.75, 8.0]))
    np.testing.assert_allclose(
        found, [0, 0, 1.5, 2, 2.5, 4]
    )  # 1.5 and the root of what is above 2 and a quarter
    steps = np.diff(softened(np.linspace(0, 9, 901))) / 0.01
    assert steps.min() > 0 and np.abs(np.diff(steps)).max() < 0.02  # no jump, no kink


def test_others_are_measured_along_the_border_by_what_is_usual_there(inspector):
    observed = inspector.observe([part(i) for i in range(8)], "plate")
    with TemporaryDirectory() as folder:
        comparison = inspector.compare_all(observed, "plate", Path(folder))
    maps = np.stack([comparison.mutual[one.description.content].scores.reshape(32, 32) for one in observed])
    expected = bordered_scale(list(maps))
    assert comparison.mutual_scale == expected and len(expected.zones) == 5
    found = comparison.of(observed[0].description).parts["company"]
    np.testing.assert_array_equal(found, expected(maps[0]))
    assert comparison.own_scale == bordered_scale([sampled(one.own) for one in observed])


def test_a_score_in_company_is_the_mean_of_more_of_the_map(inspector):
    observed = inspector.observe([part(i) for i in range(3)], "plate")
    with TemporaryDirectory() as folder:
        comparison = inspector.compare_all(observed, "plate", Path(folder))
        score = inspector.conclude(observed[0], comparison).score
    one = observed[0]
    total, _ = comparison.total(one.own, comparison.of(one.description))
    seen = heatmaps.smooth(heatmaps.resize(total, one.seen_hw), inspector.settings.smooth)
    highest = np.sort(seen, axis=None)[-round(0.005 * seen.size) :]
    assert score == pytest.approx(highest.mean(), rel=1e-5)


def test_the_way_of_adding_belongs_to_the_settings_of_company_only(monkeypatch):
    in_company, alone = Inspector(references=[part(0)]).settings, Inspector().settings
    before = (replace(in_company).hash, replace(alone).hash)
    monkeypatch.setattr(settings, "SUMMED", settings.SUMMED + 1)
    assert replace(in_company).hash != before[0] and replace(alone).hash == before[1]


def test_what_a_picture_alone_says_is_shared_out_among_what_spoke_for_it():
    scale, described = RobustScale(centre=-3.0, width=2.0), _described()
    own = np.array([[1.0, -9.0], [-1.0, -3.0]], np.float32)
    lines = np.array([[1.0, 0.0], [4.0, -1.0]], np.float32)
    comparison = Comparison(scale)
    total, parts = comparison.total(own, comparison.of(described), {"dark_lines": lines})
    # Above the usual: 2, and of it lines 0.5; less than usual; 1, where the lines say 2 and the text - 1; nothing.
    np.testing.assert_allclose(parts["dark_lines"], [[0.5, 0], [1, 0]])
    np.testing.assert_allclose(parts["text"], [[1.5, 0], [0, 0]])
    np.testing.assert_allclose(sum(parts.values()), total)


def test_a_map_that_is_not_finite_is_not_judged_and_spoils_no_scale(inspector):
    observed = inspector.observe([part(i) for i in range(3)], "plate")
    broken = replace(observed[0], own=np.full_like(observed[0].own, np.nan))
    comparison = compare([sampled(one.own) for one in (broken, *observed[1:])], None, [])
    assert np.isfinite(comparison.own_scale.centre)
    assert isinstance(inspector.conclude(broken, comparison), NotJudged)


def _described():
    from anomaly.evidence.descriptions import Description

    return Description(np.zeros((1, 1, 4), np.float32), "ab" * 32)


def test_the_likest_patch_of_the_most_similar_picture_is_named(inspector):
    images = [part(i, defect=i == 0) for i in range(8)]
    found = inspector.inspect_set(images, "plate")
    closest = {content_hash(image): place for place, image in enumerate(images)}
    for place, one in enumerate(found):
        assert closest[one.closest] != place
        assert 0 <= one.likest_patch < 32 * 32
    assert (
        inspector.with_references(ReferenceSet.of(images[4:])).inspect(images[0], "plate").likest_patch
        is None
    )
