"""Words of texts in every script: independent of the Unicode form, never cut at marks."""

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from embsweep.data.words import fold_spelling, list_terms, list_words_and_pairs, split_words

TEXTS = (
    "Règim d'autònoms, l'època dels últims tràmits",
    "Thủ tục đăng ký tạm trú",
    "फ़ीस और पढ़ाई के क़ानून",
    "ভাড়া কর",
    "ضريبة المؤسسات وآثارها",
    "がぎぐ パスポート",
    "주차허가증",
    "น้ำประปา ภาษีที่ดิน",
    "Ο ΦΌΡΟΣ ακινήτων",
    "ẹ̀tọ́ m̃",
)


@pytest.mark.parametrize("text", TEXTS)
def test_terms_do_not_depend_on_the_unicode_form(text):
    for find in (split_words, list_words_and_pairs, list_terms):
        assert find(text)
        for form in ("NFC", "NFD", "NFKC", "NFKD"):
            assert find(unicodedata.normalize(form, text)) == find(text)


@given(st.text(st.characters(codec="utf-8"), max_size=12))
@example("\u0e31")
@example("\u0f71\u0f40")
@example("\u093f")
@example("\U00016ff0")
@example("\u302e")
@example("か\u102b")
@example("\u0f40\u0f0b\u0f18")
def test_no_term_of_any_text_starts_with_a_mark(text):
    assert not any(unicodedata.category(term[0])[0] == "M" for term in (*list_terms(text), *split_words(text)))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Straße", "STRASSE"),
        ("col·legi il·lusió", "coŀlegi il•lusió"),
        ("col·legi", "COL.LEGI"),
        ("l’administració", "l'administració"),
        ("обʼєкт", "об'єкт"),
        ("İSTANBUL IŞIK", "istanbul ışık"),
        ("ΦΟΡΟΣ", "φόρος"),
        ("ёлка", "елка"),
        ("Ver\u00adwaltung", "Verwaltung"),
        ("ﬁnance", "finance"),
        ("ＡＢＣ　１２", "abc 12"),
        ("ｺﾝﾋﾟｭｰﾀ", "コンピュータ"),
        ("มาตรา ๑๒", "มาตรา 12"),
        ("नियम ५", "नियम 5"),
        ("مادة ١٢", "مادة 12"),
        ("น้ำ", "นํ้า"),
        ("และ", "เเละ"),
        ("हिन्दी सम्बन्ध चाँद फ़ीस", "हिंदी संबंध चांद फीस"),
        ("क्\u200dष", "क्ष"),
        ("അവൻ", "അവന്\u200d"),
        ("القَانُونُ وَالرُّخْصَة", "القانون والرخصه"),
        ("أحكــام إلى", "احكام الي"),
        ("ﻻﺯﻡ", "لازم"),
        ("می\u200cشود", "مي شود"),
        ("עִבְרִית", "עברית"),
        ("1\ufe0f\u20e3", "1"),
    ],
)
def test_spellings_that_readers_take_for_the_same(one, other):
    assert list_terms(one) == list_terms(other)


def test_spellings_that_differ_stay_apart():
    texts = ["कील", "काल", "कला", "cella", "pela", "pelá", "10", "102", "5½", "51"]
    assert len({fold_spelling(text) for text in [*texts, "10²"]}) == len(texts) + 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Art. 12.3, § 5: x_y", ["art", "12", "3", "5", "x_y"]),
        ("第12条A类", ["第", "12", "条", "a", "类"]),
        ("かな", ["か", "な"]),
        ("ที่ดิน", ["ที่", "ดิ", "น"]),
        ("ខ្មែរ", ["ខ្មែ", "រ"]),
        ("မြန်မာ", ["မြ", "န်", "မာ"]),
        ("ພາສາ", ["ພ", "າ", "ສ", "າ"]),
        ("བོད་ཡིག།", ["བོད", "ཡིག"]),
        ("국민연금은", ["국민연금은"]),
        ("कानून की", ["कानून", "की"]),
        ("ẹ́ m̃", ["ẹ́", "m̃"]),
        ("5½ 10² 50㎡", ["5_1_2", "10_2", "50", "m2"]),
        ("👍 … ´ \u200b", []),
    ],
)
def test_words(text, words):
    assert split_words(text) == words


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("年金の請求", ["年", "金", "年金", "請", "求", "請求"]),
        ("です", ["です"]),
        ("དང་པོ", ["དང", "པོ", "དངཔོ"]),
        ("세금은 3", ["세", "금", "은", "세금", "금은", "3"]),
        ("कील", ["कील", "कील", "की*"]),
        ("का", ["का"]),
        ("رخصة", ["رخصه", "رخصه", "رخ*", "خص*", "صه*", "رخص*", "خصه*"]),
        ("mail.example.org/tax", ["mail", "example", "org", "tax"]),
    ],
)
def test_terms(text, terms):
    assert list_terms(text) == terms


def test_a_word_is_found_without_its_article_or_ending():
    for one, other in (("رخصة", "والرخصة"), ("पंजीकरण", "पंजीकरणों"), ("허가증", "허가증을"), ("בקשה", "הבקשה")):
        assert set(list_terms(one)) & set(list_terms(other)), one
    assert not set(list_terms("tax")) & set(list_terms("taxes"))


def test_shingles_have_pairs_of_characters_and_tell_repeated_particles_apart():
    assert list_words_and_pairs("再再审") == ["再", "再#2", "审", "再再", "再审"]
    assert list_words_and_pairs("के के लिए") == ["के", "के#2", "लिए"]
    assert list_words_and_pairs("the end of the tax") == ["the", "end", "of", "the", "tax"]
