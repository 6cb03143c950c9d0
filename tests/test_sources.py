"""Each training source is read in its published format: sentences, masks, splits, missing images, bad files."""

from __future__ import annotations

import inspect
import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import training_miniatures as draw

from steervit.training.data import source_check
from steervit.training.data.sources import (
    READERS,
    lvis,
    mapillary,
    prepared,
    read_mixture,
    read_source,
    refcoco,
    rendered,
    visual_genome,
)
from steervit.training.data.sources.plain_pickle import load_plain_pickle
from steervit.training.masks import mask_shards
from steervit.training.masks.run_length import encode


def said(records) -> list[str]:
    return sorted(record.expression for record in records)


def test_every_source_gives_its_image_and_the_drawn_mask(tmp_path):
    mixture = read_mixture(draw.every_source(tmp_path), index=tmp_path / "index")
    sources = set()
    for source in mixture.sources:
        for record in source.records:
            image, mask = record.load()
            assert image.shape == (*draw.SIZE_HW, 3) and mask.dtype == bool
            np.testing.assert_array_equal(record.load()[1], mask)
            if record.expression not in ("sky", "alarm clock"):  # these are larger, or drawn in two halves
                np.testing.assert_array_equal(mask, draw.object_mask(), err_msg=str(record))
            sources.add(record.source)
    assert sources == {"refcoco", "refcoco+", "refcocog", "lvis", "visual_genome", "mapillary", "visual genome",
                       "mapillary vistas"}  # fmt: skip


def test_refcoco_splits_and_sentences(tmp_path):
    draw.refcoco(tmp_path)
    records = refcoco.read(tmp_path)
    assert said(records) == ["bright thing", "the yellow one on the left", "yellow box"]
    assert said(refcoco.read(tmp_path, "validation")) == ["box"]
    assert {r.image_id for r in records} == {"COCO_train2014_000000000009", "COCO_train2014_000000000025"}
    with pytest.raises(ValueError, match="no split 'testA'; there are: train, val"):
        refcoco.read(tmp_path, "testA")


def test_refcoco_files_that_do_not_fit_together_are_refused(tmp_path):
    draw.refcoco(tmp_path)
    (tmp_path / "refcoco/instances.json").write_text('{"images": [], "annotations": []}')
    with pytest.raises(ValueError, match="do not fit together"):
        refcoco.read(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"refs\(umd\).p"):
        refcoco.read(tmp_path, dataset="refcocog")


class Evil:
    def __reduce__(self):
        return (Path.touch, (Path("evil-ran"),))


def test_a_pickle_is_never_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "refs(unc).p"
    for protocol in (0, 2, 4):
        file.write_bytes(pickle.dumps([Evil()], protocol=protocol))
        with pytest.raises(ValueError, match="was not read: it asks for"):
            load_plain_pickle(file)
    assert not (tmp_path / "evil-ran").exists()
    file.write_bytes(pickle.dumps(["whole"])[:-4])
    with pytest.raises(ValueError, match="was not read"):
        load_plain_pickle(file)


def test_a_pickle_of_python_2_is_read(tmp_path):
    # As Python 2 wrote {'sent': 'caf\xe9', 'ids': set([1L])} with protocol 2.
    data = b"\x80\x02}q\x00(U\x04sentU\x04caf\xe9U\x03idsc__builtin__\nset\n](\x8a\x01\x01e\x85Ru."
    file = tmp_path / "refs.p"
    file.write_bytes(data)
    assert load_plain_pickle(file) == {"sent": "café", "ids": {1}}


def test_lvis_joins_instances_and_leaves_out_what_is_not_exhaustive(tmp_path):
    draw.lvis(tmp_path)
    records = lvis.read(tmp_path)
    assert [(r.image_id[-2:], r.expression) for r in records] == [
        ("30", "bow"),
        ("30", "alarm clock"),
        ("34", "cup"),
    ]
    np.testing.assert_array_equal(records[1].load()[1], draw.object_mask())  # its two halves
    assert said(lvis.read(tmp_path, single_instances=True)) == ["bow", "cup"]
    assert said(lvis.read(tmp_path, synonyms=True)) == ["alarm", "alarm clock", "bow", "cup"]
    with pytest.raises(FileNotFoundError, match=r"lvis_v1_val\.json"):
        lvis.read(tmp_path, "validation")


def test_visual_genome_boxes_splits_and_coco(tmp_path):
    draw.visual_genome(tmp_path, photographs=8)
    train = visual_genome.read(tmp_path, validation_share=0.0)
    assert len(train) == 16 and train[1].expression == "the box is bright"
    halves = [visual_genome.read(tmp_path, split, validation_share=0.5) for split in ("train", "validation")]
    images = [{record.image_id for record in half} for half in halves]
    assert not images[0] & images[1] and len(images[0] | images[1]) == 8
    assert len(visual_genome.read(tmp_path, validation_share=0.0, without_coco=True)) == 14


def test_visual_genome_takes_masks_from_shards(tmp_path):
    draw.visual_genome(tmp_path)
    shape = np.zeros(draw.SIZE_HW, bool)
    shape[3:9, 5:7] = True
    counts = encode(shape).counts
    rows = [
        mask_shards.MaskRow(11, "1", draw.BOX, *draw.SIZE_HW, counts, 12, 0.9),
        mask_shards.MaskRow(10, "1", draw.BOX, *draw.SIZE_HW, counts, 12, 0.4),
        mask_shards.MaskRow(20, "2", draw.BOX, error="the image is missing"),
    ]
    masks = tmp_path / "masks"
    masks.mkdir()
    mask_shards.write_shard(mask_shards.shard_path(masks, 0, 1), rows, {"model": "drawn"})
    records = visual_genome.read(tmp_path, masks=masks, validation_share=0.0)
    assert [r.expression for r in records] == ["a yellow box", "the box is bright"]
    np.testing.assert_array_equal(records[0].load()[1], shape)
    assert records.missing.missing_masks == 4 and "4 regions have no mask" in str(records.missing)
    assert len(visual_genome.read(tmp_path, masks=masks, validation_share=0.0, min_quality=0.5)) == 1


def test_mapillary_joins_segments_and_leaves_out_crowds_and_void(tmp_path):
    draw.mapillary(tmp_path)
    records = {record.expression: record for record in mapillary.read(tmp_path)}
    assert set(records) == {"sky", "car parked"}
    np.testing.assert_array_equal(records["car parked"].load()[1], draw.object_mask())
    assert records["sky"].load()[1].sum() == 40 * 64 - draw.object_mask().sum()
    assert said(mapillary.read(tmp_path, "validation")) == ["car parked", "sky"]
    assert said(mapillary.read(tmp_path, min_share=0.3)) == ["sky"]


def test_prepared_finds_each_image_and_counts_the_missing(tmp_path):
    draw.prepared(tmp_path)
    folders = {name: tmp_path / folder for name, folder in
               (("coco", "coco"), ("visual_genome", "vg"), ("mapillary", "mapillary"))}  # fmt: skip
    records = prepared.read(tmp_path, **folders)
    assert [r.source for r in records] == ["refcoco", "lvis", "visual genome", "mapillary vistas"]
    assert records.missing.missing_images == (str(tmp_path / "vg/VG_100K/999.jpg"),)
    assert records.missing.missing_records == 1 and records.missing.images == 5
    del folders["mapillary"]
    assert "<mapillary: folder not given>" in str(prepared.read(tmp_path, **folders).missing.missing_images)
    assert len(prepared.read(tmp_path, "validation", **folders)) == 2
    with pytest.raises(FileNotFoundError, match="split 'test'"):
        prepared.read(tmp_path, "test")


def test_prepared_says_how_to_fetch_what_the_hub_does_not_give(monkeypatch, tmp_path):
    import huggingface_hub

    def offline(*_, **__):
        raise huggingface_hub.errors.LocalEntryNotFoundError("no network")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(FileNotFoundError, match="hf download JonaRuthardt/SteerViT"):
        prepared.read()


def test_a_wrong_parquet_file_is_named(tmp_path):
    (tmp_path / "train-0.parquet").write_bytes(b"PAR1 not at all")
    with pytest.raises(ValueError, match=r"train-0\.parquet is damaged"):
        prepared.read(tmp_path)


def test_no_image_at_all_is_an_error_that_says_where_it_looked(tmp_path):
    draw.lvis(tmp_path)
    with pytest.raises(ValueError, match=r"none of the 2 images of lvis was found, the first as .*elsewhere"):
        lvis.read(tmp_path, images=tmp_path / "elsewhere")


def test_the_index_is_used_again_and_follows_changes(tmp_path, monkeypatch):
    draw.lvis(tmp_path)
    index = tmp_path / "index"
    first = lvis.read(tmp_path, index=index)
    monkeypatch.setattr(lvis, "_rows", lambda *_: pytest.fail("read again"))
    again = lvis.read(tmp_path, index=index)
    assert said(again) == said(first) and len(list(index.glob("*.arrow"))) == 1
    monkeypatch.undo()
    assert len(lvis.read(tmp_path, index=index, synonyms=True)) == 4  # other options, another file
    file = tmp_path / "annotations/lvis_v1_train.json"
    file.write_text(file.read_text().replace("alarm_clock", "old_alarm_clock"))
    assert "old alarm clock" in said(lvis.read(tmp_path, index=index))
    (tmp_path / "train2017/000000000030.jpg").unlink()  # an image that goes missing later is noticed
    assert lvis.read(tmp_path, index=index).missing.missing_records == 2


def test_records_travel_to_other_processes_without_their_table(tmp_path):
    draw.lvis(tmp_path)
    records = lvis.read(tmp_path, index=tmp_path / "index")
    sent = pickle.dumps(records)
    assert b"alarm clock" not in sent
    assert said(pickle.loads(sent)) == said(records)
    in_memory = lvis.read(tmp_path)
    assert said(pickle.loads(pickle.dumps(in_memory))) == said(in_memory)


def test_recipe_mistakes_name_the_nearest_key(tmp_path):
    with pytest.raises(ValueError, match="one of refcoco, lvis"):
        read_source("cocoref", {"root": "."})
    with pytest.raises(ValueError, match="'image' of source 'lvis', did you mean images"):
        read_source("lvis", {"root": ".", "image": "x"})
    with pytest.raises(ValueError, match="needs `root`"):
        read_source("lvis", {})
    with pytest.raises(FileNotFoundError, match="source 'lvis': LVIS needs"):
        read_source("lvis", {"root": str(tmp_path)})


def test_every_option_is_documented():
    text = (Path(__file__).parent.parent / "docs/training-data.md").read_text(encoding="utf-8")
    parts = {part.split("`", 1)[0]: part for part in text.split("### `")[1:]}
    assert set(parts) == set(READERS)
    for kind, reader in READERS.items():
        options = set(inspect.signature(reader).parameters) - {"split", "index", "root"}
        assert not [option for option in options if f"`{option}`" not in parts[kind]], kind


def test_paths_in_recipes_may_hold_variables(tmp_path, monkeypatch):
    draw.lvis(tmp_path / "there")
    monkeypatch.setenv("LVIS_HOME", str(tmp_path / "there"))
    assert len(read_source("lvis", {"root": "$LVIS_HOME"}).records) == 3


def test_check_tells_what_is_wrong(tmp_path):
    draw.visual_genome(tmp_path)
    how = {"root": str(tmp_path), "validation_share": 0}
    good = source_check.check_source("visual_genome", how)
    assert not good.problems and good.looked_at == good.records == 6
    assert good.mask_share == pytest.approx(320 / (48 * 64))
    (tmp_path / "VG_100K/1.jpg").unlink()
    (tmp_path / "VG_100K_2/2.jpg").write_bytes(b"no image")
    found = source_check.check_source("visual_genome", how)
    assert Counter(p.kind for p in found.problems) == {"missing": 1, "unreadable": 2}
    assert found.missing is not None and found.missing.missing_records == 2
    broken = source_check.check_source("visual_genome", {"root": str(tmp_path / "nowhere")})
    assert [p.kind for p in broken.problems] == ["layout"]


def test_the_kind_of_a_folder_is_guessed(tmp_path):
    for kind, how in draw.every_source(tmp_path).items():
        expected = how.get("kind", kind)
        assert source_check.guess_kind(Path(how["root"])) == expected
    assert source_check.guess_kind(tmp_path / "index") is None


def test_rendered_scenes_are_the_same_again_and_their_splits_differ():
    train = rendered.read(None, size=64, scenes=3, sentences_per_scene=2)
    assert len(train) == 6
    image, mask = train[4].load()
    again_image, again_mask = rendered.read(None, size=64, scenes=3, sentences_per_scene=2)[4].load()
    np.testing.assert_array_equal(image, again_image)
    np.testing.assert_array_equal(mask, again_mask)
    assert image.shape == (64, 64, 3) and mask.shape == (64, 64) and mask.dtype == bool
    validation = rendered.read(None, "validation", size=64, scenes=3)
    assert not np.array_equal(validation[0].load_image(), train[0].load_image())
    assert pickle.loads(pickle.dumps(train))[4].expression == train[4].expression


def test_rendered_scenes_are_kept_where_asked_for(tmp_path, monkeypatch):
    def read():
        return rendered.read(None, size=64, scenes=3, stored=True, index=tmp_path)

    kept, drawn = read(), rendered.read(None, size=64, scenes=3, sentences_per_scene=8)
    at = {(record.image_id, record.expression): record for record in drawn}
    assert len(kept) > 6
    for record in kept:
        other = at[record.image_id, record.expression]
        np.testing.assert_array_equal(record.load_image(), other.load_image())
        np.testing.assert_array_equal(record.load()[1], other.load()[1])
    monkeypatch.setattr("steervit.nano.scenes.shards.render_scene", lambda *_: pytest.fail("drawn again"))
    assert said(read()) == said(kept)
    shards = next(tmp_path.glob("drawn/*"))
    assert said(rendered.read(shards, index=tmp_path)) == said(kept)
    with pytest.raises(FileNotFoundError, match="expected rendered shards"):
        rendered.read(tmp_path / "nothing", index=tmp_path)
