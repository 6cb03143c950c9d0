"""What may be typed as INPUTS, and which output name each image gets."""

from __future__ import annotations

import pytest

from anomaly.errors import SteerAnomalyError
from anomaly.pictures.inputs import collect, input_roots, relative_name


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """b.png, a.JPG and notes.md in img/, the same names in 'img/unter größe', hidden ones beside them."""
    monkeypatch.chdir(tmp_path)
    for name in (
        "img/b.png",
        "img/a.JPG",
        "img/notes.md",
        "img/.hidden.png",
        "img/.cache/c.png",
        "img/unter größe/b.png",
        "img/unter größe/Maß 1.tiff",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path


def _texts(paths):
    return [path.as_posix() for path in paths]


ALL = ["img/a.JPG", "img/b.png", "img/unter größe/Maß 1.tiff", "img/unter größe/b.png"]


def test_folder_is_searched_recursively_in_order_without_hidden_files(tree):
    assert _texts(collect(["img"])) == ALL


def test_duplicates_are_removed_and_the_first_place_is_kept(tree):
    inputs = ["img/b.png", "img", "./img/../img/b.png", str(tree / "img/a.JPG")]
    assert _texts(collect(inputs)) == [ALL[1], ALL[0], *ALL[2:]]


@pytest.mark.parametrize(
    ("pattern", "found"), [("img/*", ALL), ("img/**/*.png", [ALL[1], ALL[3]]), ("im?/b.*", [ALL[1]])]
)
def test_globs(tree, pattern, found):
    assert _texts(collect([pattern])) == found
    assert _texts(collect([str(tree / pattern)])) == [(tree / name).as_posix() for name in found]


def test_a_file_whose_name_looks_like_a_glob_is_that_file(tree):
    (tree / "img" / "x[1].png").write_bytes(b"x")
    assert _texts(collect(["img/x[1].png"])) == ["img/x[1].png"]


def test_text_list_is_relative_to_the_list_and_may_name_missing_files(tree):
    lines = "\ufeff# first shift\n\nb.png\n  unter größe/b.png  \nlost.png\n"
    (tree / "img" / "list.txt").write_text(lines, encoding="utf-8")
    assert _texts(collect(["img/list.txt"])) == ["img/b.png", "img/unter größe/b.png", "img/lost.png"]


def test_a_text_list_that_is_not_text_is_refused(tree):
    (tree / "list.txt").write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(SteerAnomalyError, match="one image path per line"):
        collect(["list.txt"])


def test_a_file_named_outright_is_taken_whatever_its_extension(tree):
    assert _texts(collect(["img/notes.md"])) == ["img/notes.md"]


def test_nothing_found_says_which_extensions_were_looked_for(tree):
    (tree / "empty").mkdir()
    with pytest.raises(SteerAnomalyError, match=r"none in: empty.*\.png \.jpg"):
        collect(["empty"])
    with pytest.raises(SteerAnomalyError, match="none in"):
        collect(["img/*.bmp"])
    with pytest.raises(SteerAnomalyError, match="nothing"):
        collect([])


def test_a_missing_input_is_named(tree):
    with pytest.raises(SteerAnomalyError, match="there is no 'imgs'"):
        collect(["img", "imgs"])


@pytest.mark.parametrize("inputs", [["img"], ["img/**/*.png"], ["**/*.png"]])
def test_earlier_results_are_not_inspected_again(tree, inputs):
    before = collect(inputs)
    overlays = tree / "img" / "out" / "overlays"
    overlays.mkdir(parents=True)
    (overlays / "b.png").write_bytes(b"x")
    assert len(collect(inputs)) == len(before) + 1  # only a folder with our two files counts as a result
    for name in ("run.json", "results.jsonl"):
        (overlays.parent / name).write_text("")
    assert collect(inputs) == before


def test_a_link_to_a_parent_folder_ends(tree):
    (tree / "img" / "loop").symlink_to(tree / "img", target_is_directory=True)
    assert _texts(collect(["img"])) == ALL


def test_names_keep_folders_apart(tree):
    names = [relative_name(path, input_roots(["img"])) for path in collect(["img"])]
    assert names == ["a", "b", "unter größe/Maß 1", "unter größe/b"]


def test_two_folders_are_named_from_what_they_share(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("line1/img/1.png", "line2/img/1.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(b"x")
    inputs = ["line1/img", "line2/img"]
    assert [relative_name(p, input_roots(inputs)) for p in collect(inputs)] == ["line1/img/1", "line2/img/1"]


def test_roots_of_globs_lists_and_files(tree):
    assert input_roots(["img/unter*/*.png"]) == [tree / "img"]
    assert input_roots(["*.png"]) == [tree]
    assert input_roots(["img/b.png"]) == [tree / "img"]
    (tree / "list.txt").write_text("img/b.png\nimg/unter größe/b.png\n", encoding="utf-8")
    names = [relative_name(p, input_roots(["list.txt"])) for p in collect(["list.txt"])]
    assert names == ["b", "unter größe/b"]


def test_a_path_outside_the_roots_keeps_its_whole_path(tree):
    outside = tree.parent / "else" / "b.v2.png"
    name = relative_name(outside, [tree])
    assert name == outside.with_suffix("").as_posix().lstrip("/")
    assert relative_name(outside, []) == name
