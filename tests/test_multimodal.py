"""Textual steering of multimodal language models, with tiny models of the real classes."""

import io
import json

import drawn_multimodal as drawn
import numpy as np
import pytest
import torch
from PIL import Image

from anomaly.errors import SteerAnomalyError
from anomaly.multimodal import concepts, cv_bench, decoder, grid, text_states
from anomaly.multimodal.answering import Answering, load_answering

# transformers makes an array of a tensor, which NumPy 2 has words for.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 256, (28, 28, 3), np.uint8))


@pytest.fixture(scope="module")
def paligemma():
    return drawn.paligemma()


def inputs_of(model, text="<image>what is it"):
    read = drawn.processor()(images=PHOTO, text=text, return_tensors="pt")
    assert (read["input_ids"] == drawn.IMAGE).sum() == 4
    return read


def idefics_inputs():
    ids = torch.tensor([[1, 12, drawn.IMAGE, 13, 10, 11]])
    pixels = torch.rand(1, 1, 3, 28, 28, generator=torch.Generator().manual_seed(0))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": pixels}


# Concepts ----------------------------------------------------------------------------------------------------------


def test_four_concepts_of_twenty_pairs_each():
    assert concepts.names() == ["attribute", "counting", "entity", "spatial-relation"]
    for name in concepts.names():
        found = concepts.load_concept(name)
        assert len(found.pairs) == 20 and found.name == name
        assert len({pair.sentence for pair in found.pairs}) == 20
        assert all(pair.sentence[slice(*pair.span)] == pair.target for pair in found.pairs)


def test_a_target_is_found_as_a_word_not_inside_another():
    pair = concepts.Pair("The covers lie over the bed.", "over")
    assert pair.span == (15, 19)


def test_bad_concepts(tmp_path):
    with pytest.raises(SteerAnomalyError, match="did you mean counting"):
        concepts.load_concept("couting")
    path = tmp_path / "mine.yaml"
    path.write_text("pairs:\n  - {sentence: 'a b', target: c}\n  - {sentence: 'a b', target: b}\n")
    with pytest.raises(SteerAnomalyError, match="expected the target 'c' in its sentence"):
        concepts.load_concept(path)
    path.write_text("pairs:\n  - {sentence: 'a b', target: b}\n")
    with pytest.raises(SteerAnomalyError, match="two pairs"):
        concepts.load_concept(path)


# States of text ----------------------------------------------------------------------------------------------------


def test_states_are_those_of_the_target_words_and_of_the_others():
    words = [*drawn.WORDS, "red", "cup"]
    model, read = drawn.gemma(words), drawn.tokenizer(words)
    concept = concepts.Concept((concepts.Pair("the red cup", "red"), concepts.Pair("it is red", "red")))
    states = text_states.states_of(model, read, concept)
    hidden = model(torch.tensor([[1, 12, 14, 15]]), output_hidden_states=True).hidden_states
    assert sorted(states.target) == [0, 1, 2]
    torch.testing.assert_close(states.target[1][0], hidden[2][0, 2])  # after the second layer, at "red"
    torch.testing.assert_close(states.rest[1][:2], hidden[2][0, [1, 3]])  # not at <bos>
    assert len(states.target[1]) == 2 and len(states.rest[1]) == 4
    found = text_states.vector_of(states, [1])
    torch.testing.assert_close(found.layers[1], states.target[1].mean(0) - states.rest[1].mean(0))
    assert float(text_states.vector_of(states, [1], normalised=True).layers[1].norm()) == pytest.approx(1)
    with pytest.raises(SteerAnomalyError, match="layers from 0 to 2, got 3"):
        text_states.vector_of(states, [3])
    with pytest.raises(SteerAnomalyError, match="--sae"):
        text_states.vector_of(states, [1], "sae")


# The decoder -------------------------------------------------------------------------------------------------------


def test_which_tokens_are_steered():
    ids = torch.tensor([[0, 1, 4, 4, 12, 11], [1, 4, 4, 12, 11, 13]])
    mask = torch.tensor([[0, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]])
    asked = {
        place: decoder.steered_tokens(ids, 4, {0, 1, 2}, place, mask).int().tolist()
        for place in decoder.PLACES
    }
    assert asked["image"] == [[0, 0, 1, 1, 0, 0], [0, 1, 1, 0, 0, 0]]
    assert asked["text"] == [[0, 0, 0, 0, 1, 0], [0, 0, 0, 1, 1, 0]]
    assert asked["both"] == [[0, 0, 1, 1, 1, 0], [0, 1, 1, 1, 1, 0]]


@pytest.mark.parametrize("build", [drawn.paligemma, drawn.idefics3])
def test_the_vector_is_added_after_the_layer_on_the_tokens_and_nowhere_else(build):
    model = build()
    inputs = inputs_of(model) if build is drawn.paligemma else idefics_inputs()
    tokens = decoder.steered_tokens(inputs["input_ids"], drawn.IMAGE, {0, 1, 2}, "image")
    vector, layers = torch.arange(float(drawn.WIDTH)), decoder.decoder_layers(model)
    seen = []
    watches = [
        layer.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
        for layer in list(layers)[1:]
    ]
    with torch.inference_mode():
        plain = model(**inputs).logits
        with decoder.steered(model, 0, vector, 0.5, tokens):
            moved = model(**inputs).logits
        after = model(**inputs).logits
    for watch in watches:
        watch.remove()
    torch.testing.assert_close(seen[2], seen[0] + 0.5 * vector * tokens[..., None])  # what layer 1 is given
    assert torch.equal(seen[2][~tokens], seen[0][~tokens])
    assert not torch.equal(moved, plain) and torch.equal(after, plain)  # and the model is as it was
    assert not any(layer._forward_hooks for layer in layers)


def test_alpha_nought_changes_no_bit_and_an_error_leaves_nothing_behind(paligemma):
    inputs, vector = inputs_of(paligemma), torch.ones(drawn.WIDTH)
    with torch.inference_mode():
        plain = paligemma(**inputs).logits
        with decoder.steered(paligemma, 1, vector, 0.0, torch.ones_like(inputs["input_ids"])):
            assert torch.equal(paligemma(**inputs).logits, plain)
        with (
            pytest.raises(SteerAnomalyError, match="first pass over"),
            decoder.steered(paligemma, 1, vector, 1.0, torch.ones(1, 2)),
        ):
            paligemma(**inputs)
        assert torch.equal(paligemma(**inputs).logits, plain)
    with (
        pytest.raises(SteerAnomalyError, match="layer from 0 to 2, got 9"),
        decoder.steered(paligemma, 9, vector, 1.0, torch.ones(1, 1)),
    ):
        pass
    with (
        pytest.raises(SteerAnomalyError, match="vector of width 16"),
        decoder.steered(paligemma, 0, torch.ones(3), 1.0, torch.ones(1, 1)),
    ):
        pass
    with pytest.raises(SteerAnomalyError, match="PaliGemma, Gemma 3, Idefics3"):
        decoder.decoder_layers(torch.nn.Linear(2, 2))


def test_only_the_prefill_is_steered_and_generation_stays_cached(paligemma):
    inputs = inputs_of(paligemma)
    lengths = []
    watch = decoder.decoder_layers(paligemma)[2].register_forward_hook(
        lambda module, given, output: lengths.append(output.shape[1])
    )
    said = decoder.answer(paligemma, inputs, torch.ones(drawn.WIDTH), 1, 3.0, max_new_tokens=3)
    watch.remove()
    assert said.shape[0] == 1 and lengths[0] == inputs["input_ids"].shape[1]
    assert lengths[1:] == [1, 1]  # what was read is not read again


def test_the_right_vector_turns_the_answer_and_the_wrong_ones_do_not():
    model, towards_b = drawn.turnable()
    answering = Answering(model, drawn.processor())
    assert answering.ask(PHOTO, "what is it")[:1] == "A"
    assert answering.ask(PHOTO, "what is it", towards_b, 1, 40.0)[:1] == "B"
    assert answering.ask(PHOTO, "what is it", towards_b, 1, -40.0)[:1] == "A"
    assert answering.ask(PHOTO, "what is it", torch.eye(drawn.WIDTH)[7], 1, 40.0)[:1] == "A"
    assert answering.ask(PHOTO, "what is it", towards_b, 1, 0.0)[:1] == "A"


# CV-Bench ----------------------------------------------------------------------------------------------------------


def write_bench(root, count, task="Count"):
    import pyarrow as pa
    import pyarrow.parquet as parquet

    data = io.BytesIO()
    PHOTO.save(data, "PNG")
    rows = [
        {"idx": i, "type": "2D", "task": task, "image": {"bytes": data.getvalue(), "path": None},
         "question": "what is it", "choices": ["1", "2"], "answer": "(B)" if i % 2 else "(A)", "prompt": "what is it"}
        for i in range(count)
    ]  # fmt: skip
    root.mkdir(exist_ok=True)
    parquet.write_table(pa.Table.from_pylist(rows), root / "test_2d.parquet")


def test_questions_are_read_and_split_without_overlap(tmp_path):
    write_bench(tmp_path, 12)
    questions = cv_bench.load_questions(tmp_path)
    assert [one.idx for one in questions] == list(range(12)) and questions[3].answer == "(B)"
    assert questions[0].picture().size == (28, 28)
    choice, test = cv_bench.split(questions, "Count", 5)
    order = np.random.default_rng(42).permutation(12)
    assert [one.idx for one in test] == list(order[-5:]) and [one.idx for one in choice] == list(order[:7])
    with pytest.raises(SteerAnomalyError, match="more than 12 questions of the task Count"):
        cv_bench.split(questions, "Count", 12)
    with pytest.raises(SteerAnomalyError, match="found no question"):
        cv_bench.load_questions(tmp_path / "none")


@pytest.mark.parametrize(
    "reply, wanted",
    [("(B) 2", "(B)"), ("B", "(B)"), ("A.", "(A)"), ("The answer is (A)", "(A)"), ("2", "(B)"), ("C", None),
     ("", None), ("Above all", None)],
)  # fmt: skip
def test_which_choice_a_reply_names(reply, wanted):
    assert cv_bench.letter(reply, ["1", "2"]) == wanted


# The grid ----------------------------------------------------------------------------------------------------------


def test_the_grid_chooses_on_the_one_half_and_tests_once_on_the_other(tmp_path):
    asked = []

    def accuracy(layer, alpha, which):
        asked.append((layer, alpha, which))
        return {0.0: 0.5, 1.0: 0.7, 2.0: 0.7}[alpha] if layer != 6 else 0.4, 10

    found = grid.run_grid(accuracy, [5, 6], [1.0, 2.0], tmp_path / "grid.json", {"task": "Count"})
    assert (found["best"]["layer"], found["best"]["alpha"]) == (5, 1.0)  # of equals the weakest
    assert [one for one in asked if one[2] == "test"] == [(0, 0.0, "test"), (5, 1.0, "test")]
    assert len(asked) == 5 + 2
    grid.run_grid(accuracy, [5, 6], [1.0, 2.0], tmp_path / "grid.json", {"task": "Count"})
    assert len(asked) == 5 + 2  # nothing is asked again
    with pytest.raises(SteerAnomalyError, match="other settings"):
        grid.run_grid(accuracy, [5], [1.0], tmp_path / "grid.json", {"task": "Depth"})


def test_where_no_vector_helps_none_is_applied(tmp_path):
    found = grid.run_grid(
        lambda layer, alpha, which: (0.6 if alpha == 0 else 0.5, 4), [5], [1.0], tmp_path / "grid.json", {}
    )
    assert found["best"]["alpha"] == 0 and found["test"]["plain"] == found["test"]["steered"]


def test_a_grid_that_was_stopped_goes_on(tmp_path):
    done = []

    def accuracy(layer, alpha, which):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append((layer, alpha))
        return 0.5, 4

    with pytest.raises(KeyboardInterrupt):
        grid.run_grid(accuracy, [5, 6], [1.0], tmp_path / "grid.json", {})
    kept = json.loads((tmp_path / "grid.json").read_text())["cells"]
    assert [(one["layer"], one["alpha"]) for one in kept] == done == [(0, 0.0), (5, 1.0)]


def test_no_model_there_is_a_sentence(tmp_path):
    with pytest.raises(SteerAnomalyError, match="expected a multimodal language model at"):
        load_answering(tmp_path)
    with pytest.raises(SteerAnomalyError, match="expected a language model at"):
        text_states.load_text_model(tmp_path)
