"""Words and facts: the promised numbers, no word in two parts, values used evenly, groups of people."""

from collections import Counter

from world_oracle import RAW

from itlib.microworld import facts, lexicon


def test_lexicon_has_the_promised_words_and_no_word_plays_two_parts():
    assert (len(lexicon.NOUNS), len(lexicon.OPPOSITE_PAIRS), len(lexicon.VERBS)) == (240, 70, 99)
    assert list(map(len, lexicon.NAMES)) == [200, 80, 30, 30, 40, 8]
    assert [list(lexicon.CATEGORY.values()).count(category) for category in lexicon.CATEGORIES] == [20] * 12
    words = lexicon.all_words()
    assert len(words) == len(set(words))
    assert all(word.isalpha() and word.islower() for word in words)


def test_the_raw_file_holds_no_word_that_is_not_read():
    raw = {w for part in [*RAW["nouns"].values(), *(v for k, v in RAW.items() if k != "nouns")] for w in part.split()}
    assert {word for pair in raw for word in pair.split("/")} | set(RAW["nouns"]) == set(lexicon.all_words())


def test_things_have_values_used_evenly():
    for table, values in (
        (facts.COLOUR, lexicon.COLOURS), (facts.SIZE, lexicon.SIZES), (facts.COUNTRY, lexicon.COUNTRIES),
    ):  # fmt: skip
        counts = Counter(table.values())
        assert set(counts) == set(values) and max(counts.values()) - min(counts.values()) <= 1


def test_people_of_each_group_have_homes_and_jobs_used_evenly():
    """So that neither group can be guessed better than the other."""
    groups = (lexicon.PEOPLE, lexicon.RARE_PEOPLE, lexicon.NEW_PEOPLE, lexicon.NEVER_PEOPLE)
    assert set(facts.HOME) == set(facts.JOB) == {person for group in groups for person in group}
    for group in groups:
        for table, values in ((facts.HOME, lexicon.TOWNS), (facts.JOB, lexicon.JOBS)):
            counts = Counter(table[person] for person in group)
            assert max(counts.values()) - min(counts.get(value, 0) for value in values) <= 1


def test_frequencies_are_one_and_four_levels_of_a_quarter_of_the_rare_people_each():
    assert set(facts.FREQUENCY) == {*lexicon.PEOPLE, *lexicon.RARE_PEOPLE}
    assert all(facts.FREQUENCY[person] == 1 for person in lexicon.PEOPLE)
    assert Counter(facts.FREQUENCY[person] for person in lexicon.RARE_PEOPLE) == dict.fromkeys(facts.RARE_LEVELS, 20)


def test_facts_are_drawn_without_regard_to_each_other():
    """Colour does not tell the size, nor home the job: no cell of the table is far from its expected count."""
    for one, other, keys in (
        (facts.COLOUR, facts.SIZE, lexicon.NOUNS), (facts.COLOUR, lexicon.CATEGORY, lexicon.NOUNS),
        (facts.SIZE, lexicon.CATEGORY, lexicon.NOUNS),
    ):  # fmt: skip
        cells = Counter((one[key], other[key]) for key in keys)
        n_cells = len(set(one.values())) * len(set(other.values()))
        expected = len(keys) / n_cells
        chi_square = sum((count - expected) ** 2 / expected for count in cells.values())
        chi_square += (n_cells - len(cells)) * expected
        freedom = (len(set(one.values())) - 1) * (len(set(other.values())) - 1)
        assert abs(chi_square - freedom) < 4 * (2 * freedom) ** 0.5
