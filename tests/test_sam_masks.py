"""Masks from boxes by the real SAM 2 classes, tiny and with random weights: shards, resuming, processes."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import training_miniatures as draw

from steervit.training.data.sources import visual_genome
from steervit.training.masks.mask_shards import MaskShards, readable, shard_files, shard_path
from steervit.training.masks.run_length import Box
from steervit.training.masks.segment_anything import ImageBoxes, MaskMaker, make_masks, visual_genome_boxes


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A SAM 2 of a few thousand weights with its processor, as `from_pretrained` reads it."""
    from transformers import (
        Sam2Config,
        Sam2HieraDetConfig,
        Sam2ImageProcessor,
        Sam2MaskDecoderConfig,
        Sam2Model,
        Sam2Processor,
        Sam2PromptEncoderConfig,
        Sam2VisionConfig,
    )

    backbone = Sam2HieraDetConfig(
        hidden_size=8, image_size=[64, 64], blocks_per_stage=[1, 1, 2, 1], embed_dim_per_stage=[8, 16, 32, 64],
        num_attention_heads_per_stage=[1, 1, 2, 2], window_size_per_stage=[4, 4, 4, 2], global_attention_blocks=[3],
        window_positional_embedding_background_size=[2, 2],
    )  # fmt: skip
    vision = Sam2VisionConfig(
        backbone_config=backbone.to_dict(), backbone_channel_list=[64, 32, 16, 8], fpn_hidden_size=16,
        backbone_feature_sizes=[[16, 16], [8, 8], [4, 4]],
    )  # fmt: skip
    config = Sam2Config(
        vision_config=vision.to_dict(),
        prompt_encoder_config=Sam2PromptEncoderConfig(
            hidden_size=16, image_size=64, mask_input_channels=4
        ).to_dict(),
        mask_decoder_config=Sam2MaskDecoderConfig(
            hidden_size=16, mlp_dim=16, num_attention_heads=2, iou_head_hidden_dim=16
        ).to_dict(),
    )
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("sam2")
    Sam2Model(config).save_pretrained(path)
    size = {"height": 64, "width": 64}
    Sam2Processor(Sam2ImageProcessor(size=size, mask_size={"height": 16, "width": 16})).save_pretrained(path)
    return str(path)


@pytest.fixture(scope="module")
def maker(folder):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # so small that threads only wait for each other
    yield MaskMaker(folder, boxes_at_once=2)
    torch.set_num_threads(threads)


@pytest.fixture
def images(tmp_path):
    return visual_genome_boxes(draw.visual_genome(tmp_path / "vg", photographs=5))


def test_each_box_gets_a_mask_of_the_images_size_and_a_quality(maker):
    image = np.random.default_rng(0).integers(0, 255, (40, 70, 3), np.uint8)
    boxes = [Box(2, 3, 20, 20), Box(30, 5, 30, 30), Box(0, 0, 70, 40)]
    made = maker(image, boxes)
    assert [mask.shape for mask, _ in made] == [(40, 70)] * 3
    assert all(mask.dtype == bool and 0 <= quality <= 1 for mask, quality in made)
    alone = maker(image, boxes[2:])[0]  # boxes asked for together do not disturb each other
    np.testing.assert_array_equal(alone[0], made[2][0])
    assert alone[1] == pytest.approx(made[2][1], abs=1e-5)


def test_masks_are_those_of_one_plain_call(maker):
    image = np.random.default_rng(1).integers(0, 255, (50, 30, 3), np.uint8)
    boxes = [Box(2, 3, 20, 20), Box(10, 20, 15, 30), Box(0, 0, 30, 50)]
    inputs = maker.processor(images=image, input_boxes=[[list(b.xyxy) for b in boxes]], return_tensors="pt")
    with torch.no_grad():
        output = maker.model(**inputs, multimask_output=False)
    expected = maker.processor.post_process_masks(output.pred_masks, inputs["original_sizes"])[0][:, 0]
    made = maker(image, boxes)
    assert (np.stack([mask for mask, _ in made]) == expected.numpy().astype(bool)).mean() > 0.999
    np.testing.assert_allclose(
        [quality for _, quality in made], output.iou_scores.flatten().clamp(0, 1), atol=1e-5
    )


def test_half_precision_gives_masks_too(folder):
    made = MaskMaker(folder, precision="bf16")(np.zeros((20, 30, 3), np.uint8), [Box(2, 3, 9, 9)])
    assert made[0][0].shape == (20, 30) and 0 <= made[0][1] <= 1


def test_boxes_are_found_by_image(images):
    assert [image.image_id for image in images] == list("12345")
    assert images[1].boxes == ((20, Box(10, 8, 20, 16)), (21, Box(10, 8, 20, 16)))
    assert all(image.path is not None for image in images)


def test_shards_are_made_once_and_by_any_number_of_processes(tmp_path, images, maker):
    out, calls = tmp_path / "masks", []
    made_with = {"model": "tiny"}

    def make(process, processes, into=out):
        return make_masks(images, into, lambda: maker, made_with, 2, process, processes, calls.append)

    assert make(1, 2) == 1 and [path.name for path in shard_files(out)] == ["masks-00001-of-00003.parquet"]
    before = shard_files(out)[0].stat().st_mtime_ns
    assert make(0, 1) == 2 and shard_files(out)[1].stat().st_mtime_ns == before
    assert sum(calls) == 2 + 5  # what was there already counts as progress too
    assert make_masks(images, out, lambda: pytest.fail("loaded for nothing"), made_with, 2) == 0
    make(0, 1, tmp_path / "alone")
    for one, other in zip(shard_files(out), shard_files(tmp_path / "alone"), strict=True):
        assert pq.read_table(one).equals(pq.read_table(other))


def test_masks_are_those_that_visual_genome_reads(tmp_path, images, maker):
    out = tmp_path / "masks"
    make_masks(images, out, lambda: maker, {"model": "tiny"}, 3)
    table = pq.read_table(out).to_pylist()
    assert [row["region"] for row in table] == [10, 11, 20, 21, 30, 31, 40, 41, 50, 51]
    good = [row for row in table if row["counts"] is not None]
    assert good and all(row["area"] > 0 and 0 <= row["quality"] <= 1 for row in good)
    records = visual_genome.read(tmp_path / "vg", masks=out, validation_share=0.0)
    assert len(records) == len(good)
    assert [record.load()[1].sum() for record in records] == [row["area"] for row in good]
    made = maker(records[0].load_image(), [Box(10, 8, 20, 16)])[0][0]
    np.testing.assert_array_equal(records[0].load()[1], made)


def test_missing_and_damaged_images_get_rows_that_say_so(tmp_path, images, maker):
    damaged = images[1].path
    assert damaged is not None
    damaged.write_bytes(b"no image")
    some = [ImageBoxes("1", None, images[0].boxes), images[1], images[2]]
    make_masks(some, tmp_path / "masks", lambda: maker, {}, 10)
    errors = pq.read_table(tmp_path / "masks").column("error").to_pylist()
    assert errors[:2] == ["the image is missing"] * 2 and "cannot read the image" in errors[2]
    assert MaskShards(tmp_path / "masks").get(10) is None


def test_a_damaged_shard_is_made_again_and_one_made_otherwise_is_refused(tmp_path, images, maker):
    out = tmp_path / "masks"
    make_masks(images, out, lambda: maker, {"model": "tiny"}, 5)
    path = shard_path(out, 0, 1)
    path.write_bytes(path.read_bytes()[:100])
    assert not readable(path, {"model": "tiny"})
    assert make_masks(images, out, lambda: maker, {"model": "tiny"}, 5) == 1
    with pytest.raises(ValueError, match=r"was made with .*tiny.* another folder"):
        make_masks(images, out, lambda: maker, {"model": "large"}, 5)


def test_a_model_that_is_not_there_is_said_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected the weights and the processor of SAM 2"):
        MaskMaker(str(tmp_path / "nothing"))
    with pytest.raises(FileNotFoundError, match="train masks"):
        shard_files(tmp_path)
