"""Near duplicates: exact, against brute force."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mctsdialog.errors import ConfigError
from mctsdialog.statistics._similarity import jaccard, near_duplicates, shingles

WORDS = st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=12).map(" ".join)


def brute_force(sets, threshold):
    return [
        any(jaccard(one, other) >= threshold for place, other in enumerate(sets) if place != own)
        for own, one in enumerate(sets)
    ]


def test_shingles_are_word_trigrams_in_lower_case():
    assert shingles("One two THREE four") == {("one", "two", "three"), ("two", "three", "four")}
    assert shingles("One  two") == {("one", "two")}
    assert shingles("") == {()}


def test_jaccard_is_shared_over_all():
    assert jaccard(frozenset("abc"), frozenset("bcd")) == 0.5
    assert jaccard(frozenset("a"), frozenset("b")) == 0.0
    assert jaccard(frozenset(), frozenset()) == 1.0


@settings(max_examples=300)
@given(texts=st.lists(WORDS, max_size=14), threshold=st.sampled_from([0.1, 0.34, 0.5, 2 / 3, 0.8, 0.9, 1.0]))
def test_they_are_those_of_brute_force(texts, threshold):
    sets = [shingles(text, 2) for text in texts]
    assert near_duplicates(sets, threshold) == brute_force(sets, threshold)


def test_one_changed_word_in_a_long_text_is_near_and_a_new_text_is_not():
    text = [f"word{number}" for number in range(40)]
    changed = [*text[:-1], "other"]
    fresh = [f"new{number}" for number in range(40)]
    sets = [shingles(" ".join(words)) for words in (text, changed, fresh)]
    assert near_duplicates(sets) == [True, True, False]


def test_many_equal_texts_are_no_trouble():
    sets = [shingles("the very same words again and again")] * 20_000
    assert all(near_duplicates(sets))


@pytest.mark.timeout(30)  # each compared with each, this takes minutes
def test_many_texts_all_alike_are_no_trouble():
    core = " ".join(f"word{number}" for number in range(30))
    assert all(near_duplicates([shingles(f"{core} end{number}") for number in range(15_000)]))


@settings(max_examples=150)
@given(data=st.data(), threshold=st.sampled_from([0.2, 0.5, 0.75, 0.8, 1.0]))
def test_clusters_of_near_duplicates_are_those_of_brute_force(data, threshold):
    elements = st.frozensets(st.integers(0, 9), max_size=8)
    cores = data.draw(st.lists(elements, min_size=1, max_size=3))
    changes = data.draw(st.lists(st.tuples(st.sampled_from(cores), st.frozensets(st.integers(0, 14), max_size=2))))
    sets = [core ^ change for core, change in changes]
    assert near_duplicates(sets, threshold) == brute_force(sets, threshold)


@pytest.mark.parametrize("threshold", [0, -0.1, 1.01, float("nan")])
def test_a_threshold_out_of_range_is_an_error(threshold):
    with pytest.raises(ConfigError, match="threshold"):
        near_duplicates([], threshold)


def test_chinese_is_compared_by_its_characters():
    assert jaccard(shingles("我能理解你的感受"), shingles("我能理解你的心情")) == pytest.approx(4 / 8)
    assert jaccard(shingles("我能理解你的感受"), shingles("我能理解你的感受")) == 1.0
