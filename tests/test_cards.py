import pytest

from anomaly.errors import SteerAnomalyError
from anomaly.testsets import cards


@pytest.mark.parametrize("name", cards.names())
def test_every_shipped_card_reads_and_is_complete(name):
    card = cards.load(name)
    assert card.title and card.about and card.page and card.licence.name
    assert bool(card.categories) == card.is_inspection
    assert 0 < card.pro_limit <= 1
    assert all(len(a.sha256) == 64 for a in card.archives if a.sha256)
    assert len({c.name for c in card.categories}) == len(card.categories)
    for row in card.published:
        assert row.values and row.source and all(0 < v <= 100 for v in row.values.values())


def test_mvtec_has_fifteen_categories_five_of_them_textures_and_its_published_counts():
    card = cards.load("mvtec")
    assert [c.name for c in card.categories if c.group == "texture"] == [
        "carpet",
        "grid",
        "leather",
        "tile",
        "wood",
    ]
    assert sum(c.good for c in card.categories) == 467
    assert sum(c.defective for c in card.categories) == 1258
    assert card.groups == ("texture", "object")
    assert card.category("metal_nut").object == "metal nut"


def test_visa_counts_and_object_names():
    card = cards.load("visa")
    assert sum(c.good + c.defective for c in card.categories) == 2162
    assert {card.category(f"pcb{i}").object for i in (1, 2, 3, 4)} == {"printed circuit board"}


def test_mvtec_ad_2_integrates_pro_to_a_twentieth():
    assert cards.load("mvtec-ad-2").pro_limit == 0.05


def test_unknown_category_names_the_nearest():
    with pytest.raises(SteerAnomalyError, match="did you mean metal_nut"):
        cards.load("mvtec").category("metalnut")


def test_unknown_benchmark_names_the_nearest_and_lists_all():
    with pytest.raises(SteerAnomalyError, match=r"did you mean mvtec.*There are: ade20k, btad"):
        cards.load("mvtek")


def test_a_card_of_ones_own_is_read_by_path(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "title: Mine\nabout: x\nlayout: mvtec\npage: p\nlicence: {name: MIT, url: u, restricted: false}\n"
        "categories:\n  cup: {object: coffee cup}\n"
    )
    card = cards.load(str(path))
    assert card.name == "mine" and card.category("cup").object == "coffee cup" and card.archives == ()


CARD = "title: A\nabout: b\nlayout: mvtec\npage: p\nlicence: {name: MIT, url: u, restricted: false}\n"
CUP = "categories: {cup: {object: cup}}\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not readable YAML"),
        ("[1, 2]", "found a list"),
        ("title: x", "expected the key about, which is not there"),
        (
            CARD + "categories: {cup: {object: cup, goood: 3}}",
            "category cup: unknown key 'goood', did you mean good",
        ),
        (CARD + "categories: {cup: 3}", "category cup: expected it to be a table of keys, got 3"),
        (CARD + "categories: {cup: {good: 3}}", "category cup: expected the key object"),
        (
            CARD.replace("mvtec", "odd") + CUP,
            "layout to be one of mvtec, visa, mvtec-ad-2, pairs, core, genecis, pods, mosaic, probe, ade20k, "
            "refcocog, got 'odd'",
        ),
        (CARD.replace("restricted", "restrict") + CUP, "key 'licence.restrict', did you mean restricted"),
        (CARD, "expected the key categories with a product"),
        (CARD + CUP + "pro_limit: 2", "pro_limit to be at most 1, got 2"),
        (
            CARD + CUP + "published: [{method: m, setting: s, source: o, pixel_arouc: 3}]",
            "'published.0..pixel_arouc'",
        ),
        (CARD + CUP + "archives: [{file: a.zip}]", r"expected the key archives\[0\].url"),
    ],
)
def test_mistakes_in_a_card_are_named(tmp_path, text, says):
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(SteerAnomalyError, match=rf"bad\.yaml.*{says}"):
        cards.load(str(tmp_path / "bad.yaml"))
