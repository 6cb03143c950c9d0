import drawn_datasets as drawn
import numpy as np
import pytest
from PIL import Image

from anomaly.errors import SteerAnomalyError
from anomaly.evaluation.sets import folder_test_sets
from anomaly.pictures.inputs import collect
from anomaly.pictures.suffixes import IMAGE_SUFFIXES
from anomaly.testsets.cards import load
from anomaly.testsets.folder_layout import folder_categories, folder_samples, mask_samples
from anomaly.testsets.layouts import find_samples, mvtec, pairs, present_categories
from anomaly.testsets.samples import image_size_hw, read_mask, require_files


def labels(samples):
    return {s.key: s.defective for s in samples}


def test_mvtec_pairs_every_defect_with_its_mask(tmp_path):
    drawn.mvtec_category(tmp_path / "bottle")
    samples = find_samples(load("mvtec"), tmp_path, "bottle")
    assert labels(samples) == {
        "test/crack/000": True,
        "test/crack/001": True,
        "test/good/000": False,
        "test/good/001": False,
        "test/stain/000": True,
        "test/stain/001": True,
    }
    assert samples[0].masks == (tmp_path / "bottle/ground_truth/crack/000_mask.png",)
    assert read_mask(samples[0], (24, 32)).sum() == 49
    assert not read_mask(samples[2], (24, 32)).any()


def test_mask_named_as_its_image_with_ok_and_ko_folders(tmp_path):
    drawn.draw(tmp_path / "test/ok/1.bmp", None, 0)
    drawn.draw(tmp_path / "test/ko/2.bmp", tmp_path / "ground_truth/ko/2.png", 1)
    bad, good = mvtec(tmp_path)
    assert (bad.defective, good.defective) == (True, False) and bad.masks[0].name == "2.png"


def test_several_masks_in_a_folder_are_united(tmp_path):
    drawn.draw(tmp_path / "test/logical/000.png", None, 0)
    for i in range(2):
        mask = np.zeros((24, 32), np.uint8)
        mask[i * 10] = 200
        drawn.write(tmp_path / f"ground_truth/logical/000/{i:03}.png", mask)
    (sample,) = mvtec(tmp_path)
    assert len(sample.masks) == 2 and read_mask(sample, (24, 32)).sum() == 64


def test_visa_takes_the_test_rows_and_any_value_but_zero(tmp_path):
    drawn.visa(tmp_path)
    samples = find_samples(load("visa"), tmp_path, "pcb1")
    assert labels(samples) == {
        "test/bad/000": True,
        "test/bad/001": True,
        "test/bad/002": True,
        "test/good/0001": False,
        "test/good/0002": False,
    }
    assert read_mask(samples[0], (24, 32)).sum() == 49  # the file holds 0 and 1


def test_visa_without_its_table_or_with_wrong_columns(tmp_path):
    (tmp_path / "candle").mkdir()
    with pytest.raises(SteerAnomalyError, match=r"1cls.csv: not found"):
        find_samples(load("visa"), tmp_path, "candle")
    (tmp_path / "split_csv").mkdir()
    (tmp_path / "split_csv/1cls.csv").write_text("object,split,label\n")
    with pytest.raises(SteerAnomalyError, match="columns image, mask"):
        find_samples(load("visa"), tmp_path, "candle")


def test_mvtec_ad_2_public_and_private(tmp_path):
    drawn.mvtec_ad_2(tmp_path)
    public = find_samples(load("mvtec-ad-2"), tmp_path, "rice")
    assert public[0].key == "test_public/bad/000_regular"
    assert [s.defective for s in public] == [True, True, False, False]
    require_files(public)
    private = find_samples(load("mvtec-ad-2"), tmp_path, "rice", "private_mixed")
    assert private[0].key == "test_private_mixed/000_mixed" and private[0].defective is None
    with pytest.raises(SteerAnomalyError, match="private, private_mixed"):
        find_samples(load("mvtec-ad-2"), tmp_path, "rice", "secret")


def test_pairs_let_the_label_decide(tmp_path):
    drawn.draw(tmp_path / "kos01/Part0.jpg", tmp_path / "kos01/Part0_label.bmp", 0)
    drawn.draw(tmp_path / "kos01/Part1.jpg", None, 0)
    drawn.write(tmp_path / "kos01/Part1_label.bmp", np.zeros((24, 32), np.uint8))
    drawn.draw(tmp_path / "Test/3.png", tmp_path / "Test/Label/3_label.png", 0)
    assert labels(pairs(tmp_path)) == {
        "test/Test/3": True,
        "test/kos01/Part0": True,
        "test/kos01/Part1": False,
    }
    card = load("kolektor")
    assert present_categories(card, tmp_path) == ["commutator"]
    assert len(find_samples(card, tmp_path, "commutator")) == 3


def test_wrong_root_says_what_was_expected(tmp_path):
    (tmp_path / "holiday").mkdir()
    with pytest.raises(SteerAnomalyError, match=r"expected folders such as bottle.*found holiday"):
        find_samples(load("mvtec"), tmp_path, "bottle")
    with pytest.raises(SteerAnomalyError, match="no such folder"):
        present_categories(load("mvtec"), tmp_path / "nowhere")
    drawn.mvtec_category(tmp_path / "cable")
    drawn.mvtec_category(tmp_path / "outer/inner/wood")
    for folder, better in (("cable", "."), ("outer", "outer/inner")):
        with pytest.raises(SteerAnomalyError, match=f"try {tmp_path / better}"):
            present_categories(load("mvtec"), tmp_path / folder)
    with pytest.raises(SteerAnomalyError, match="has no folder 'bottle'"):
        find_samples(load("mvtec"), tmp_path, "bottle")


def test_a_missing_mask_is_named(tmp_path):
    folder = drawn.mvtec_category(tmp_path / "bottle")
    (folder / "ground_truth/stain/001_mask.png").unlink()
    with pytest.raises(SteerAnomalyError, match=r"stain/001_mask.png: not found \(1 such file\)"):
        require_files(mvtec(folder))


def test_masks_of_the_wrong_size_black_or_damaged_are_refused_by_name(tmp_path):
    folder = drawn.mvtec_category(tmp_path / "bottle", defects=("crack",), good=0, each=1)
    (sample,) = mvtec(folder)
    with pytest.raises(
        SteerAnomalyError, match=r"000_mask.png: the mask \(32 x 24 px\) is larger than its image"
    ):
        read_mask(sample, (12, 16))
    drawn.write(sample.masks[0], np.zeros((24, 32), np.uint8))
    with pytest.raises(SteerAnomalyError, match=r"000_mask.png: .* all black"):
        read_mask(sample, (24, 32))
    sample.masks[0].write_bytes(b"")
    with pytest.raises(SteerAnomalyError, match="damaged or empty"):
        read_mask(sample, (24, 32))


def test_jpeg_masks_and_alpha_channels(tmp_path):
    drawn.draw(tmp_path / "test/crack/0.png", tmp_path / "ground_truth/crack/0_mask.jpg", 3)
    (sample,) = mvtec(tmp_path)
    assert abs(int(read_mask(sample, (24, 32)).sum()) - 49) <= 4
    rgba = np.zeros((24, 32, 4), np.uint8)
    rgba[..., 3] = 255
    rgba[2, 3, 1] = 9
    sample.masks[0].unlink()
    drawn.write(tmp_path / "ground_truth/crack/0_mask.png", rgba)
    assert read_mask(mvtec(tmp_path)[0], (24, 32)).sum() == 1


def test_folder_in_mvtec_layout_with_and_without_category_level(tmp_path):
    drawn.mvtec_category(tmp_path / "cup")
    assert folder_categories(tmp_path) == {"cup": tmp_path / "cup"}
    assert folder_categories(tmp_path / "cup") == {"cup": tmp_path / "cup"}
    assert len(folder_samples(tmp_path / "cup")) == 6


def test_images_with_a_mask_folder(tmp_path):
    drawn.draw(tmp_path / "images/a.jpg", tmp_path / "masks/a_mask.png", 0)
    drawn.draw(tmp_path / "images/b.jpg", None, 0)
    assert labels(folder_samples(tmp_path)) == {"test/a": True, "test/b": False}
    drawn.write(tmp_path / "masks/z.png", np.ones((2, 2), np.uint8))
    with pytest.raises(SteerAnomalyError, match=r"z.png: belongs to no image"):
        folder_samples(tmp_path)


def test_good_and_bad_folders_know_labels_only(tmp_path):
    drawn.draw(tmp_path / "good/a.png", None, 0)
    drawn.draw(tmp_path / "scratched/b.png", None, 0)
    good, bad = folder_samples(tmp_path)
    assert (good.defective, bad.defective, bad.masks) == (False, True, ())
    assert read_mask(bad, (24, 32)) is None


def test_good_and_bad_folders_with_a_mask_folder(tmp_path):
    drawn.draw(tmp_path / "good/a.png", None, 0)
    drawn.draw(tmp_path / "bad/b.png", tmp_path / "ground_truth/b.png", 0)
    samples = {s.key: s for s in folder_samples(tmp_path)}
    assert samples["test/bad/b"].masks == (tmp_path / "ground_truth/b.png",)
    assert set(samples) == {"test/good/a", "test/bad/b"}


def test_two_images_of_one_stem_keep_apart(tmp_path):
    drawn.draw(tmp_path / "test/good/a.png", None, 0)
    drawn.draw(tmp_path / "test/good/a.jpg", None, 1)
    assert set(labels(folder_samples(tmp_path))) == {"test/good/a.png", "test/good/a.jpg"}


def test_a_folder_that_is_no_test_set_lists_what_is_understood(tmp_path):
    (tmp_path / "notes").mkdir()
    with pytest.raises(SteerAnomalyError, match=r"(?s)it holds notes.*MVTec layout"):
        folder_categories(tmp_path)


@pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
def test_eval_reads_the_suffixes_that_inspect_reads(tmp_path, suffix):
    """One list: an image that `inspect` takes is counted by `eval` too, also in capitals."""
    for name in ("good/a", "bad/b", "bad/C"):
        drawn_name = f"{name}{suffix.upper() if name.endswith('C') else suffix}"
        (tmp_path / "set" / drawn_name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 6), (90, 90, 90)).save(tmp_path / "set" / drawn_name)
    samples = folder_samples(tmp_path / "set")
    assert [s.image for s in samples] == sorted(collect([tmp_path / "set"]))
    assert len(samples) == 3


def test_an_image_without_a_mask_counts_as_good_and_it_is_said(tmp_path):
    for name in ("images/a.png", "images/b.png", "images/c.png", "masks/a.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 6), 255).save(tmp_path / name)
    (images,) = folder_test_sets(tmp_path)
    assert [s.defective for s in images.samples] == [True, False, False]
    assert images.note == f"No mask, so counted as good: 2 images of {tmp_path.name} (b.png, c.png)."
    Image.new("L", (8, 6), 0).save(tmp_path / "masks/b.png")
    Image.new("L", (8, 6), 0).save(tmp_path / "masks/c.png")
    assert folder_test_sets(tmp_path)[0].note is None  # a black mask says it


@pytest.mark.slow
def test_masks_may_have_as_many_pixels_as_images(tmp_path):
    """Pillow calls more than 179 million pixels a decompression bomb."""
    import cv2

    path = tmp_path / "masks/large.png"
    path.parent.mkdir()
    mask = np.zeros((10_000, 20_000), np.uint8)
    mask[5, 7] = 255
    assert cv2.imwrite(str(path), mask, [cv2.IMWRITE_PNG_BILEVEL, 1])
    assert image_size_hw(path) == mask.shape
    (sample,) = mask_samples(path.parent)
    found = read_mask(sample, mask.shape)
    assert found.sum() == 1 and found[5, 7]
