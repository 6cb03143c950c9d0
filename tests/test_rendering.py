"""Rendered scenes: deterministic, consistent with their masks and sentences, broad, honest about what is seen."""

import json

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from steervit.nano.scenes import parts_shiny, shards, vocabulary
from steervit.nano.scenes.assortment import EVERYTHING, PARTS
from steervit.nano.scenes.camera import any_camera
from steervit.nano.scenes.colours import name_colour
from steervit.nano.scenes.defects import DEFECTS, any_kind, damage
from steervit.nano.scenes.patched import patched_scene
from steervit.nano.scenes.photos import PhotoSource
from steervit.nano.scenes.scene import render_scene
from steervit.nano.scenes.sentences import KINDS, place_of, sentences
from steervit.nano.scenes.shiny import SHINY, SHINY_DEFECTS
from steervit.nano.scenes.stage import any_stage
from steervit.nano.scenes.textures import TEXTURES, any_texture

SIZE = 96


@pytest.fixture(scope="module")
def scenes():
    return [render_scene(seed, SIZE) for seed in range(60)]


@pytest.fixture
def photo_folder(tmp_path):
    folder = tmp_path / "photos" / "shelf"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for index in range(3):
        photo = cv2.resize(
            rng.integers(0, 255, (8, 11, 3), np.uint8), (110, 80), interpolation=cv2.INTER_CUBIC
        )
        cv2.imwrite(str(folder / f"{index}.png"), photo)
    return tmp_path / "photos"


def test_same_seed_same_scene():
    first, second = render_scene(7, SIZE), render_scene(np.random.default_rng(7), SIZE)
    assert np.array_equal(first.image, second.image)
    assert first.object_name == second.object_name
    assert first.layers.keys() == second.layers.keys()
    assert all(np.array_equal(first.layers[name], second.layers[name]) for name in first.layers)
    assert not np.array_equal(first.image, render_scene(8, SIZE).image)


def test_scenes_have_the_promised_forms(scenes):
    for scene in scenes:
        assert scene.image.shape == (SIZE, SIZE, 3)
        assert scene.image.dtype == np.uint8
        assert scene.object_name
        for mask in scene.layers.values():
            assert mask.shape == (SIZE, SIZE)
            assert mask.dtype == bool


def test_layers_are_the_union_of_their_marks(scenes):
    for scene in scenes:
        assert set(scene.kinds) == {mark.kind for mark in scene.marks}
        for kind in scene.kinds:
            union = np.any([mark.mask for mark in scene.marks if mark.kind == kind], axis=0)
            assert np.array_equal(scene.layers[kind], union)
        together = np.any([scene.layers[kind] for kind in scene.kinds], axis=0) if scene.kinds else False
        assert np.array_equal(scene.defects, np.zeros((SIZE, SIZE), bool) | together)


def test_some_scenes_are_good_and_most_are_not(scenes):
    good = sum(not scene.marks for scene in scenes)
    assert 4 <= good <= 30


def test_shiny_scenes_are_the_same_again_and_have_good_twins():
    shiny = [render_scene(seed, SIZE, shiny=True) for seed in range(40)]
    again = render_scene(3, SIZE, shiny=True)
    assert np.array_equal(again.image, shiny[3].image) and np.array_equal(again.defects, shiny[3].defects)
    assert 2 <= sum(not scene.marks for scene in shiny) <= 20
    assert {mark.kind for scene in shiny for mark in scene.marks} <= set(SHINY_DEFECTS)
    assert {"bottle", "plate"} <= {scene.material for scene in shiny}
    good = render_scene(3, SIZE, shiny=True, kinds=[])
    assert not good.marks and good.object_name == shiny[3].object_name
    assert all(sentences(scene, np.random.default_rng(0)) for scene in shiny)


def test_glass_is_round_and_rust_is_brown():
    part = parts_shiny.glass(np.random.default_rng(5), SIZE)
    radius = np.hypot(*(np.indices((SIZE, SIZE)) - SIZE / 2)) / part.unit
    assert part.alpha[radius < 0.95].min() > 0.9 and part.alpha[radius > 1.05].max() == 0
    reddened = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        stage, camera = any_stage(rng, SIZE, None, SHINY), any_camera(rng)
        before = stage.surface.albedo.copy()
        mark = damage(rng, stage, camera, "discolouration", SHINY_DEFECTS)
        if mark is not None:
            inside = (stage.surface.albedo - before)[mark.mask].mean(0)
            reddened.append(inside[0] - inside[2])
    assert len(reddened) > 10 and np.mean(np.array(reddened) > 0) > 0.7


def test_small_size_is_refused():
    with pytest.raises(ValueError, match="64 pixels or more, got 32"):
        render_scene(0, 32)


ALL_DEFECTS = [(DEFECTS, EVERYTHING, kind) for kind in DEFECTS] + [
    (SHINY_DEFECTS, SHINY, kind)
    for kind in SHINY_DEFECTS
    if SHINY_DEFECTS[kind][0] is not DEFECTS[kind][0]  # one of its own
]


@pytest.mark.parametrize(("table", "assortment", "kind"), ALL_DEFECTS, ids=lambda value: str(value)[:20])
def test_defect_changes_pixels_inside_its_mask(table, assortment, kind):
    """Inside, the picture changes several times more than outside; elsewhere it hardly changes at all."""
    found = 0
    for seed in range(80):
        rng = np.random.default_rng(seed)
        stage, camera = any_stage(rng, SIZE, None, assortment), any_camera(rng)
        part, before = stage.part.copy(), stage.view.copy()
        mark = damage(rng, stage, camera, kind, table)
        if mark is None:
            assert np.array_equal(stage.view, before)
            continue
        assert mark.kind == kind
        assert mark.mask.any()
        change = np.abs(stage.view - before).mean(-1)
        moved = not np.array_equal(stage.part, part)
        if not moved:
            assert change[mark.mask].mean() > 3 * change[~mark.mask].mean()
        found += 1
        if found == 4:
            return
    pytest.fail(f"only {found} visible defects of kind {kind} in 80 scenes")


@pytest.mark.parametrize(
    "texture", list({**TEXTURES, **SHINY.textures}), ids=lambda texture: texture.__name__
)
def test_textures_are_finite_and_textured(texture):
    surface = texture(np.random.default_rng(3), SIZE)
    assert surface.albedo.shape == (SIZE, SIZE, 3)
    assert surface.height.shape == (SIZE, SIZE)
    assert surface.albedo.dtype == surface.height.dtype == np.float32
    assert np.isfinite(surface.albedo).all()
    assert np.isfinite(surface.height).all()
    assert surface.name in vocabulary.words()["surfaces"]


@pytest.mark.parametrize("recipe", list({**PARTS, **SHINY.parts}), ids=lambda recipe: recipe.__name__)
def test_parts_cover_some_of_their_square(recipe):
    part = recipe(np.random.default_rng(4), SIZE)
    assert part.alpha.shape == (SIZE, SIZE)
    assert 0.03 < (part.alpha > 0.5).mean() < 1
    assert 0 <= part.alpha.min() <= part.alpha.max() <= 1
    assert part.shape in vocabulary.words()["parts"]


def test_everything_can_be_drawn():
    rng = np.random.default_rng(0)
    assert {any_kind(rng) for _ in range(1000)} == set(DEFECTS)
    assert {EVERYTHING.recipe(rng) for _ in range(1500)} == set(PARTS)
    assert {SHINY.recipe(rng) for _ in range(200)} == set(SHINY.parts)
    assert {any_kind(rng, SHINY_DEFECTS) for _ in range(1000)} == set(SHINY_DEFECTS) <= set(DEFECTS)
    assert len({any_texture(rng, 32).name for _ in range(400)}) > 20


def test_vocabulary_has_no_doubles_and_names_every_kind():
    words = vocabulary.words()
    assert set(words["kinds"]) == set(DEFECTS)
    assert all(kind == names[0] for kind, names in words["kinds"].items())
    for topic in ("all", "defect", "object", "background", "general"):
        assert len(words[topic]) == len(set(words[topic]))
    for names in [*words["parts"].values(), *words["surfaces"].values()]:
        assert len(names) == len(set(names))


def test_sentences_point_at_their_layers(scenes):
    seen = set()
    for seed, scene in enumerate(scenes):
        said = sentences(scene, np.random.default_rng(seed))
        assert said[0].kind == "all"
        for sentence in said:
            seen.add(sentence.kind)
            assert sentence.text == sentence.text.strip()
            assert "{" not in sentence.text
            if sentence.kind == "all":
                assert np.array_equal(sentence.mask, scene.defects)
            elif sentence.kind == "defect":
                assert any(np.array_equal(sentence.mask, scene.layers[kind]) for kind in scene.kinds)
            elif sentence.kind in ("colour", "position"):
                assert sentence.mask.any()
                assert not (sentence.mask & ~scene.defects).any()
            elif sentence.kind == "object":
                assert np.array_equal(sentence.mask, scene.layers["object"])
            elif sentence.kind == "background":
                assert np.array_equal(sentence.mask, ~scene.layers["object"])
            elif sentence.kind == "normal":
                assert np.array_equal(sentence.mask, scene.layers["object"] & ~scene.defects)
            else:
                assert not sentence.mask.any()
    assert seen == set(KINDS)


def test_a_named_kind_is_the_one_pointed_at(scenes):
    for seed, scene in enumerate(scenes):
        for sentence in sentences(scene, np.random.default_rng(seed)):
            if sentence.names:
                assert np.array_equal(sentence.mask, scene.layers.get(sentence.names, sentence.mask & False))
                assert any(word in sentence.text for word in vocabulary.words()["kinds"][sentence.names])
            assert bool(sentence.names) or sentence.kind != "defect"


def test_scenes_with_several_defects_have_no_two_that_look_alike():
    drawn = [render_scene(seed, SIZE, several=True) for seed in range(8)]
    assert sum(len(scene.kinds) >= 2 for scene in drawn) >= 6  # where no second could be seen, there is one
    assert max(len(scene.kinds) for scene in drawn) >= 3
    for scene in drawn:
        assert len(scene.kinds) == len(scene.marks)
        for kind in scene.kinds:
            assert not vocabulary.confusable(kind, [other for other in scene.kinds if other != kind])


def test_absent_sentences_name_no_present_kind(scenes):
    for seed, scene in enumerate(scenes):
        said = sentences(scene, np.random.default_rng(seed))
        for sentence in said:
            if sentence.kind == "absent":
                assert not any(kind in sentence.text for kind in scene.kinds)


@pytest.mark.parametrize(
    ("rows", "columns", "words"),
    [
        ((2, 8), (2, 8), "at the top left"),
        ((40, 50), (2, 8), "on the left"),
        ((88, 95), (42, 54), "at the bottom"),
        ((45, 50), (45, 50), "in the centre"),
        ((0, 96), (0, 96), None),
    ],
)
def test_places_have_words(rows, columns, words):
    mask = np.zeros((96, 96), bool)
    mask[slice(*rows), slice(*columns)] = True
    assert place_of(mask) == words


@pytest.mark.parametrize(
    ("rgb", "name"),
    [
        ((0.9, 0.1, 0.1), "red"),
        ((0.05, 0.05, 0.05), "black"),
        ((0.97, 0.97, 0.97), "white"),
        ((0.4, 0.25, 0.1), "brown"),
    ],
)
def test_colours_have_names(rgb, name):
    assert name_colour(np.array(rgb)) == name


def test_photographs_are_used_and_change_scenes(photo_folder):
    photos = PhotoSource(photo_folder)
    used = sum(
        not np.array_equal(render_scene(seed, SIZE, photos).image, render_scene(seed, SIZE).image)
        for seed in range(20)
    )
    assert used >= 5


def test_folder_without_photographs_is_refused(tmp_path):
    with pytest.raises(ValueError, match="expected a folder of photographs"):
        PhotoSource(tmp_path)


def test_shards_keep_scenes_whole(tmp_path):
    (path,) = shards.render_shards(tmp_path, 5, 3, SIZE)
    written = path.read_bytes()
    stored = list(shards.read_shard(path))
    assert [scene.seed for scene in stored] == [5, 6, 7]
    for scene in stored:
        rng = np.random.default_rng(scene.seed)
        fresh = render_scene(rng, SIZE)
        expected = shards.choose(sentences(fresh, rng), rng)
        assert np.array_equal(scene.image, fresh.image)
        assert scene.object_name == fresh.object_name
        assert [(s.text, s.kind, s.names) for s in scene.sentences] == [
            (s.text, s.kind, s.names) for s in expected
        ]
        assert all(np.array_equal(a.mask, b.mask) for a, b in zip(scene.sentences, expected, strict=True))
        assert 1 <= len(scene.sentences) <= 12
    shards.render_shards(tmp_path, 5, 3, SIZE)
    assert path.read_bytes() == written


def test_file_that_is_no_shard_is_refused(tmp_path):
    np.savez(tmp_path / "other.npz", numbers=np.arange(3))
    with pytest.raises(ValueError, match="expected a shard"):
        list(shards.read_shard(tmp_path / "other.npz"))


def test_shards_from_the_command_line(tmp_path, photo_folder):
    options = [
        "--out",
        str(tmp_path / "out"),
        "--count",
        "2",
        "--size",
        str(SIZE),
        "--photos",
        str(photo_folder),
    ]
    result = CliRunner().invoke(shards.main, options)
    assert result.exit_code == 0, result.output
    (path,) = (tmp_path / "out").glob("*.npz")
    with np.load(path) as stored:
        assert len(json.loads(str(stored["index"]))) == 2


def test_exchanged_areas_change_the_picture_and_may_be_wide(photo_folder):
    photos = PhotoSource(photo_folder)
    drawn = [patched_scene(np.random.default_rng(seed), SIZE, photos) for seed in range(40)]
    again = patched_scene(np.random.default_rng(3), SIZE, photos)
    assert np.array_equal(again.image, drawn[3].image) and np.array_equal(again.defects, drawn[3].defects)
    assert all(scene.image.shape == (SIZE, SIZE, 3) and scene.image.dtype == np.uint8 for scene in drawn)
    good = [scene for scene in drawn if not scene.marks]
    assert 5 < len(good) < 20 and all(not scene.defects.any() for scene in good)
    shares = [mark.mask.mean() for scene in drawn for mark in scene.marks]
    assert min(shares) < 0.02 and 0.2 < max(shares) <= 0.42
    assert {mark.kind for scene in drawn for mark in scene.marks} <= set(DEFECTS)
    assert all(sentences(scene, np.random.default_rng(0)) for scene in drawn)
    without = patched_scene(np.random.default_rng(1), SIZE)
    assert without.layers["object"].any()
