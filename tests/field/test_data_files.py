"""Data files as people have them: read as they are meant, or refused with the cause and an argument that helps."""

import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from bnn_zoo.data import table
from bnn_zoo.types import DataError

N = 30
ROWS = range(N)


@pytest.fixture
def write(tmp_path):
    """Write text (or bytes) to a file and return its name."""

    def to(content, name="mine.csv", encoding="utf-8"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
        return str(path)

    return to


@pytest.fixture
def npz(tmp_path):
    def to(**arrays):
        np.savez(tmp_path / "mine.npz", **arrays)
        return str(tmp_path / "mine.npz")

    return to


def lines(header, row):
    """A header and a line for each row, from its number."""
    return "\n".join([header, *(row(i) for i in ROWS)]) + "\n"


def in_order(made):
    """Targets of all rows in their own unit, sorted."""
    return np.sort(torch.cat([made.y, made.y_test]).double().numpy() * made.y_scale + made.y_mean)


def column(made, name):
    return torch.cat([made.x, made.x_test])[:, made.features.index(name)]


PLAIN = lines("a,b,y", lambda i: f"{i % 11},{i % 7},{i + 0.5}")
WANTED = np.arange(N) + 0.5

# ---------------------------------------------------------------------------------------------------------- dialects

DIALECTS = {
    "plain": (PLAIN, {}),
    "semicolons": (PLAIN.replace(",", ";"), {}),
    "tabs": (PLAIN.replace(",", "\t"), {}),
    "bars": (PLAIN.replace(",", "|"), {}),
    "blanks": (PLAIN.replace(",", "  "), {}),
    "blanks after the comma": (PLAIN.replace(",", ", "), {}),
    "UTF-8 with its mark": (PLAIN, {"encoding": "utf-8-sig"}),
    "UTF-16": (PLAIN, {"encoding": "utf-16"}),
    "Windows line ends": (PLAIN.replace("\n", "\r\n"), {}),
    "old Mac line ends": (PLAIN.replace("\n", "\r"), {}),
    "upper case": (PLAIN, {"name": "MINE.CSV"}),
    "tsv": (PLAIN.replace(",", "\t"), {"name": "mine.tsv"}),
    "empty lines": (PLAIN.replace("\n", "\n\n"), {}),
    "rows of commas at the end": (PLAIN + ",,\n,,\n", {}),
    "no line end at the end": (PLAIN.rstrip("\n"), {}),
    "quoted numbers": (lines('"a","b","y"', lambda i: f'"{i % 11}","{i % 7}","{i + 0.5}"'), {}),
    "a separator at each end": (PLAIN.replace("\n", ",\n"), {}),
    "a separator at each end but the header's": ("a,b,y\n" + PLAIN.split("\n", 1)[1].replace("\n", ",\n"), {}),
    "decimal commas": (PLAIN.replace(",", ";").replace(".", ","), {}),
    "quoted decimal commas": (lines("a,b,y", lambda i: f'{i % 11},{i % 7},"{i},5"'), {}),
    "names of rows, as pandas writes them": (lines(",a,b,y", lambda i: f"{i},{i % 11},{i % 7},{i + 0.5}"), {}),
    "names of rows, as R writes them": (lines("a,b,y", lambda i: f"r{i},{i % 11},{i % 7},{i + 0.5}"), {}),
    "a # before the names": ("# " + PLAIN, {}),
    "Excel's sep=": ("sep=;\n" + PLAIN.replace(",", ";"), {}),
    "exponents": (lines("a,b,y", lambda i: f"{i % 11}e0,{i % 7},{(i + 0.5) / 100:.3f}E+02"), {}),
}


@pytest.mark.parametrize("what", DIALECTS)
def test_dialects_give_the_same_table(what, write):
    content, how = DIALECTS[what]
    made, plain = table(write(content, **how), target="y"), table(write(PLAIN, "plain.csv"), target="y")
    assert made.features == ("a", "b") and made.target == "y" and not made.classes
    for ours, theirs in ((made.x, plain.x), (made.y, plain.y), (made.x_test, plain.x_test), (made.y_test, plain.y_test)):
        torch.testing.assert_close(ours, theirs)
    np.testing.assert_allclose(in_order(made), WANTED, rtol=1e-6)


def test_latin_1_is_read_and_said(write):
    made = table(write(PLAIN.replace("a", "größe", 1), encoding="latin-1"), target="y")
    assert made.features[0] == "größe" and any("UTF-8" in note for note in made.notes)


@pytest.mark.parametrize(
    "cell, decimal, value",
    [
        ("1.234,5", None, 1234.5),  # can only be a decimal comma
        ("1.234.567", None, 1234567),
        ("0,125", None, 0.125),  # a group of thousands never begins with 0
        ("1,234", ",", 1.234),
        ("1,234", ".", 1234),
        ("1.234", None, 1.234),
        ("1.234", ",", 1234),
        ("−2,5", None, -2.5),
    ],
)
def test_thousands_and_decimal_commas(cell, decimal, value, write):
    made = table(write(lines("a;y", lambda i: f"{i % 11};{cell if i == 4 else i}")), target="y", decimal=decimal)
    assert not made.classes
    np.testing.assert_allclose(in_order(made), np.sort([*(float(i) for i in ROWS if i != 4), value]), rtol=1e-5, atol=1e-4)


def test_a_comma_that_can_be_both_is_refused_and_the_advice_works(write):
    path = write(lines("a;y", lambda i: f"{i % 11};{i % 9 + 1},{100 + i}"))
    with pytest.raises(DataError, match=r"\d\.\d+ or \d+: .*decimal=','.*--decimal ,.*decimal='\.'"):
        table(path, target="y")
    assert in_order(table(path, target="y", decimal=","))[0] == pytest.approx(1.1)
    assert in_order(table(path, target="y", decimal="."))[0] == pytest.approx(1100)


def test_ambiguous_separators_are_refused_and_the_advice_works(write):
    path = write(lines("a;b,y;z", lambda i: f"{i};{i % 7},{i % 3};{i + 0.5}"))
    with pytest.raises(DataError, match=r"commas and of semicolons.*separator=','"):
        table(path, target="z")
    assert table(path, target="z", separator=";", drop=["b,y"]).features == ("a",)


# ----------------------------------------------------------------------------------------------------- holes in numbers


@pytest.mark.parametrize("marker", ["?", "NA", "nan", "-", "n/a", ""])
def test_a_marker_among_numbers(marker, write):
    """Not fifty indicators, and not a silent guess; what the error says to write leaves out that row and no other."""
    path = write(lines("hp,b,mpg", lambda i: f"{marker if i == 5 else i * 3},{i % 7},{i + 0.5}"))
    with pytest.raises(DataError, match=r"hp holds numbers and .*line 7.*missing='") as caught:
        table(path, target="mpg")
    assert f"missing={marker!r}" in str(caught.value)
    made = table(path, target="mpg", missing=[marker])
    assert made.features == ("hp", "b") and any("1 of 30 rows left out" in note for note in made.notes)
    np.testing.assert_allclose(in_order(made), np.delete(WANTED, 5), rtol=1e-6)


def test_markers_of_all_columns_are_named_at_once(write):
    path = write(lines("a,b,y", lambda i: f"{'?' if i == 3 else i},{'' if i == 4 else i % 7},{'NA' if i == 5 else i + 0.5}"))
    with pytest.raises(DataError, match=r"missing=\('\?', '', 'NA'\) \(--missing '\?' --missing '' --missing NA\)"):
        table(path, target="y")
    np.testing.assert_allclose(
        in_order(table(path, target="y", missing=("?", "", "NA"))), np.delete(WANTED, [3, 4, 5]), rtol=1e-5
    )


def test_numbers_that_stand_for_missing(write):
    path = write(lines("a,b,y", lambda i: f"{-999 if i in (2, 9) else i % 11},{i % 7},{i + 0.5}"))
    assert any("a is -999 in 2 rows" in note and "missing='-999'" in note for note in table(path, target="y").notes)
    np.testing.assert_allclose(in_order(table(path, target="y", missing="-999.0")), np.delete(WANTED, [2, 9]), rtol=1e-5)


def test_a_marker_that_is_nowhere_is_said(write):
    assert any("no row is left out" in note for note in table(write(PLAIN), target="y", missing="?").notes)


def test_text_among_numbers_without_a_marker(write):
    path = write(lines("a,b,y", lambda i: f"{f'about {i}' if i < 8 else i},{i % 7},{i + 0.5}"))
    with pytest.raises(DataError, match=r"a holds numbers and 8 other values such as 'about 0'.*write numbers throughout"):
        table(path, target="y")


# ------------------------------------------------------------------------------------------------------------- columns


def test_text_becomes_indicators_and_is_said(write):
    made = table(write(lines("cat,a,y", lambda i: f"{['red', 'blue', 'green'][i % 3]},{i % 7},{i + 0.5}")), target="y")
    assert made.features == ("cat_blue", "cat_green", "cat_red", "a")
    assert "cat is text: 3 indicators, blue, green, red" in made.notes
    indicators = torch.cat([made.x, made.x_test])[:, :3]
    assert ((indicators > 0).sum(1) == 1).all()


def test_names_of_indicators_do_not_clash(write):
    header = "cat,cat_red,y"
    made = table(write(lines(header, lambda i: f"{'red' if i % 2 else 'blue'},{i % 7},{i + 0.5}")), target="y")
    assert made.features == ("cat_blue", "cat=red", "cat_red")
    assert torch.equal(column(made, "cat=red") > 0, column(made, "cat_blue") < 0)
    twice = lines("a,a_b,y", lambda i: f"{'b_c' if i % 2 else 'x'},{'c' if i % 3 else 'x'},{i + 0.5}")
    assert len(set(table(write(twice), target="y").features)) == 4


def test_booleans_are_one_input(write):
    made = table(write(lines("flag,a,y", lambda i: f"{('True', 'FALSE')[i % 2]},{i % 7},{i + 0.5}")), target="y")
    assert made.features == ("flag", "a")
    assert len(column(made, "flag").unique()) == 2


REFUSED = {
    "two columns of the target's name": (lines("a,y,y", lambda i: f"{i % 7},{i},{i}.5"), "several columns called y"),
    "the same name but for blanks": (lines("a,y, y", lambda i: f"{i % 7},{i},{i}.5"), "several columns called y"),
    "two inputs of one name": (lines("a,a,y", lambda i: f"{i % 7},{i},{i}.5"), "several columns called a"),
    "a copy of the target": (lines("a,z,y", lambda i: f"{i % 7},{i}.5,{i}.5"), "z repeats the target.*drop='z'"),
    "no target of that name": (lines("a,Y", lambda i: f"{i % 7},{i}.5"), "target='Y'.*did you mean Y"),
    "one column": (lines("y", lambda i: f"{i}.5"), "one column, y"),
    "names left out": ("\n".join(f"{i},{i % 7},{i}.5" for i in ROWS), "expected names of the columns.*0, 0, 0.5"),
    "a line too long": (PLAIN.replace("4,4,4.5", "4,4,4.5,9"), "line 6: expected 3 fields.*got 4"),
    "a line too short": (PLAIN.replace("4,4,4.5", "4,4"), "line 6: expected 3 fields.*got 2"),
    "unquoted decimal commas": (lines("a,y", lambda i: f"{i},5,{i},5"), "expected 2 fields.*got 4.*separator"),
    "an open quotation mark": (PLAIN.replace("4,4,", '4,"4,'), "quotation mark"),
    "both kinds of decimals": (lines("a;y", lambda i: f"{i},5;{i}.5"), "decimal points.*decimal commas.*one way"),
    "infinite": (PLAIN.replace("4,4,4.5", "inf,4,4.5"), "a has infinite values in 1 row .*line 6"),
    "beyond float64": (PLAIN.replace("4,4,4.5", "1e999,4,4.5"), "a has infinite values"),
    "inputs beyond float32": (lines("a,y", lambda i: f"{i}e300,{i}.5"), "a has values up to 2.9e[+]301, beyond float32"),
    "dates": (lines("day,a,y", lambda i: f"2020-01-{i + 1:02},{i % 7},{i}.5"), "day holds dates.*drop='day'"),
    "dates of other countries": (lines("day,a,y", lambda i: f"{i + 1}.1.2020,{i % 7},{i}.5"), "day holds dates"),
    "a date as target": (lines("a,y", lambda i: f"{i % 7},2020-01-{i + 1:02}"), "y holds dates"),
    "a text that names each row": (lines("who,a,y", lambda i: f"name{i},{i % 7},{i}.5"), "who is text with 30.*drop='who'"),
    "text of many values": (lines("who,a,y", lambda i: f"name{i // 2}x{i % 9},{i % 7},{i}.5"), "who is text with 30"),
    "an empty cell in text": (lines("c,a,y", lambda i: f"{'' if i == 4 else 'uv'[i % 2]},{i % 7},{i}.5"), "empty cells"),
    "nan among labels": (lines("a,y", lambda i: f"{i % 7},{'nan' if i == 4 else 'uv'[i % 2]}"), "'nan' among its labels"),
    "currency": (lines("a,p,y", lambda i: f'{i % 7},"${i},000",{i}.5'), r"p holds numbers with signs.*'\$0,000'"),
    "currency as target": (lines("a,y", lambda i: f'{i % 7},"{1000 + i} €"'), "y holds numbers with signs"),
    "per cent of few values": (lines("a,p,y", lambda i: f"{i % 7},{i % 3 * 10}%,{i}.5"), "p holds numbers with signs.*'0%'"),
    "thousands by blanks": (lines("a,y", lambda i: f"{i % 7},1 {i + 100}"), "y holds numbers with signs"),
    "a class for each row": (lines("a,y", lambda i: f"{i % 7},row {i}"), r"too many for classes.*task='classification'"),
    "nothing": ("", "is empty"),
    "nothing but quotation marks": ('""\n', "is empty"),
    "a header alone": ("a,b,y\n", "no row below"),
    "a spreadsheet": (b"PK\x03\x04\x00\x00\x00rest", "no text"),
    "few rows": ("a,y\n1,2\n3,4\n", "at least 10 rows"),
    "a constant target": (lines("a,y", lambda i: f"{i % 7},3.5"), "one value only"),
    "constant inputs": (lines("a,y", lambda i: f"0.1,{i}.5"), "every input is constant"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused_with_the_cause(what, write):
    content, message = REFUSED[what]
    with pytest.raises(DataError, match=message):
        table(write(content), target="y")


def test_advice_to_drop_works(write):
    content = lines("day,who,a,y", lambda i: f"2020-01-{i + 1:02},name{i},{i % 7},{i}.5")
    made = table(write(content), target="y", drop=["day", "who"])
    assert made.features == ("a",) and len(made.x) == 24
    with pytest.raises(DataError, match=r"drop has nobody: .*columns are day, who, a, y"):
        table(write(content), target="y", drop="nobody")


def test_a_column_that_counts_the_rows_is_said(write):
    notes = table(write(lines("id,a,y", lambda i: f"{i + 1},{i % 7},{i * i}.5")), target="y").notes
    assert any("id counts the rows" in note and "drop='id'" in note for note in notes)


def test_codes_and_names_that_differ_in_case_are_said(write):
    notes = table(write(lines("zip,c,y", lambda i: f"0{i % 7}1,{'uvU'[i % 3]},{i}.5")), target="y").notes
    assert any(note.startswith("zip has zeros in front") for note in notes)
    assert any("(U and u differ in case only)" in note for note in notes)
    notes = table(write(lines("a,y", lambda i: f"{i % 7},{('yes', 'Yes', 'no')[i % 3]}")), target="y").notes
    assert any("3 classes" in note and "(Yes and yes differ in case only)" in note for note in notes)


def test_a_level_that_may_mean_missing_is_said(write):
    made = table(write(lines("work,a,y", lambda i: f"{'?' if i % 5 == 0 else 'uv'[i % 2]},{i % 7},{i}.5")), target="y")
    assert "work_?" in made.features and any("missing='?'" in note for note in made.notes)


# -------------------------------------------------------------------------------------------------------------- targets


def target_of(values, task=None, npz=None):
    return table(npz(X=np.random.default_rng(0).normal(size=(len(values), 2)), y=np.array(values)), task=task)


TARGETS = {
    "prices": ([250_000 + 1_000 * i for i in range(40)], 0),
    "prices that repeat": ([100 * (i % 9) for i in range(60)], 0),
    "years": ([1990 + i % 12 for i in range(120)], 0),
    "ranks": (list(range(1, 41)), 0),
    "decimals": ([i % 4 + 0.5 for i in range(40)], 0),
    "digits": ([i % 10 for i in range(100)], 10),
    "digits as floats": ([float(i % 10) for i in range(100)], 10),
    "0 and 1": ([i % 2 for i in range(40)], 2),
    "−1 and 1": ([2 * (i % 2) - 1 for i in range(40)], 2),
    "booleans": ([i % 2 == 0 for i in range(40)], 2),
    "text": (["abc"[i % 3] for i in range(40)], 3),
    "text of numbers": ([str(i * 1.5) for i in range(40)], 0),
    "bytes": ([b"abc"[i % 3 : i % 3 + 1] for i in range(40)], 3),
    "big numbers of classes": ([2**60 + i % 2 for i in range(40)], 2),
}


@pytest.mark.parametrize("what", TARGETS)
def test_classes_or_a_regression_and_it_is_said(what, npz):
    values, classes = TARGETS[what]
    made = target_of(values, npz=npz)
    assert len(made.classes) == classes
    (said,) = [note for note in made.notes if note.startswith("y holds ")]
    if classes:
        assert f"{classes} classes" in said and made.y.dtype == torch.int64
        names = np.array(made.classes)[torch.cat([made.y, made.y_test]).numpy()]
        wanted = [v.decode() if isinstance(v, bytes) else f"{v:.0f}" if isinstance(v, float) else str(v) for v in values]
        assert sorted(names) == sorted(wanted)
    else:
        assert "a regression" in said
        np.testing.assert_allclose(in_order(made), np.sort(np.array(values, float)), rtol=1e-5, atol=1e-4)
    numeric = not isinstance(values[0], str | bytes)
    other = "classification" if not classes else "regression"
    whole = numeric and all(v == round(v) for v in values)
    assert (f"task='{other}'" in said) == whole
    if whole and what not in ("prices", "ranks", "big numbers of classes"):
        overruled = target_of(values, other, npz)
        assert bool(overruled.classes) != bool(classes)


def test_a_task_that_cannot_be(npz):
    with pytest.raises(DataError, match="regression needs numbers"):
        target_of(["abc"[i % 3] for i in range(40)], "regression", npz)
    with pytest.raises(DataError, match=r"at most 50 classes.*task='regression'"):
        target_of(list(range(60)), "classification", npz)
    with pytest.raises(DataError, match="expected task to be 'regression' or 'classification', got 'classes'"):
        target_of(list(range(60)), "classes", npz)
    with pytest.raises(DataError, match="at most 50 classes; name another target, or group"):
        target_of([f"t{i % 60}" for i in range(120)], npz=npz)


def test_classes_without_training_rows(npz):
    y = np.array([0, 1] * 25 + [2] * 10)
    x = np.random.default_rng(0).normal(size=(60, 2))
    made = table(npz(X=x, y=y, train_0=np.arange(50), test_0=np.arange(50, 60)))
    assert made.classes == ("0", "1", "2") and any("no training row is of class 2: 10 test rows" in n for n in made.notes)
    with pytest.raises(DataError, match="all training rows are of one class of 'y', 2"):
        table(npz(X=x, y=y, train_0=np.arange(50, 60), test_0=np.arange(50)))


def test_known_tasks_are_not_guessed_about():
    for name in ("diabetes", "breast_cancer", "digits", "wine"):
        assert not any("task=" in note for note in table(name).notes)
    assert len(table("diabetes").classes) == 0 and len(table("digits").classes) == 10
    assert table("wine", task="regression").classes == ()


# ----------------------------------------------------------------------------------------------------------- npz files

A = np.arange
X = np.random.default_rng(0).normal(size=(60, 3))
Y = X.sum(1)


@pytest.mark.parametrize("kind", ["flatnonzero", "int8", "uint16", "int64", ">i4"])
def test_splits_as_row_numbers(kind, npz):
    x = np.stack([A(60.0), A(60.0) % 7], 1)
    train, test = A(60) >= 10, A(60) < 10
    train, test = (np.flatnonzero(part) for part in (train, test))  # what the error on masks says to write
    if kind != "flatnonzero":
        train, test = train.astype(kind), test.astype(kind)
    made = table(npz(X=x, y=A(60) + 0.5, train_3=train, test_3=test), split=3)
    assert len(made.x) == 50 and len(made.x.unique(dim=0)) == 50 and len(made.x_test) == 10
    np.testing.assert_allclose(made.y_test.double().numpy() * made.y_scale + made.y_mean, A(10) + 0.5, rtol=1e-5, atol=1e-5)


BAD_SPLITS = {
    "beyond the rows": (A(50), A(50, 70), "row numbers 0 … 59, counted from 0, got 50 … 69"),
    "counted from 1": (A(1, 51), A(51, 61), "counted from 0"),
    "negative": (A(50), A(-10, 0), "got -10 … -1"),
    "floats": (A(50.0), A(50.0, 60.0), "expected whole row numbers"),
    "two axes": (A(50)[:, None], A(50, 60), r"of shape \[50, 1\]"),
    "masks": (A(60) < 50, A(60) >= 50, r"train_0 is a mask of booleans.*np.flatnonzero\(mask\)"),
    "a mask of 0 and 1": ((A(60) < 50).astype(int), A(50, 60), "mask of 0 and 1"),
    "no test rows": (A(60), A(0), "test_0 is empty"),
    "rows twice": (np.r_[A(50), 3], A(50, 60), "row 3 more than once"),
    "a test row in training": (A(51), A(50, 60), r"1 row of test_0 \(the first is 50\) are also in train_0"),
}


@pytest.mark.parametrize("what", BAD_SPLITS)
def test_splits_that_make_no_sense(what, npz):
    train, test, message = BAD_SPLITS[what]
    with pytest.raises(DataError, match=message):
        table(npz(X=X, y=Y, train_0=train, test_0=test))


def test_splits_that_are_not_there(npz, write):
    with pytest.raises(DataError, match="no split 99: it lacks train_99 or test_99; it has 0"):
        table(npz(X=X, y=Y, train_0=A(50), test_0=A(50, 60)), split=99)
    for source in (npz(X=X, y=Y), "wine"):
        with pytest.raises(DataError, match="brings no splits, so there is no split 99"):
            table(source, split=99)
    with pytest.raises(DataError, match=r"arrays train, test: splits are .* called train_0 and test_0"):
        table(npz(X=X, y=Y, train=A(50), test=A(50, 60)))
    made = table(npz(X=X, y=Y, weights=Y, train_0=A(40), test_0=A(50, 60)))
    assert any("not used: weights" in n for n in made.notes) and any("10 rows in neither" in n for n in made.notes)


BAD_ARRAYS = {
    "no y": ({"X": X}, r"must hold arrays X \[n, d\] and y \[n\], it has X"),
    "other names": ({"x": X, "y": Y}, "it has x, y"),
    "complex": ({"X": X + 1j, "y": Y}, "expected numbers in X, got complex128.*imaginary"),
    "dates": ({"X": X, "y": A(60).astype("M8[D]")}, "expected numbers in y, got datetime64"),
    "fields": ({"X": np.zeros(60, [("age", float), ("bmi", float)]), "y": Y}, "got fields age, bmi.*np.stack"),
    "text": ({"X": X.astype(str), "y": Y}, "expected numbers in X, got <U.*csv"),
    "objects": ({"X": X.astype(object), "y": Y}, "X is an array of Python objects.*astype"),
    "images": ({"X": X.reshape(60, 3, 1), "y": Y}, r"got \[60, 3, 1\] and \[60\]: .*reshape\(len\(X\), -1\)"),
    "one-hot": ({"X": X, "y": np.eye(3)[A(60) % 3]}, r"got \[60, 3\] and \[60, 3\]: .*argmax"),
    "lengths": ({"X": X, "y": Y[:59]}, "one row of X for each value of y"),
    "a number": ({"X": X, "y": np.array(1.0)}, r"got \[60, 3\] and \[\]"),
    "NaN in X": ({"X": np.where(X > 2, np.nan, X), "y": Y}, r"NaN or infinite values in X.*np.isfinite\(X\).all\(1\)"),
    "inf in y": ({"X": X, "y": np.where(A(60) == 4, np.inf, Y)}, r"in y, 1 of them \(the first in row 4\)"),
    "NaN among labels": ({"X": X, "y": np.where(A(60) == 4, np.nan, A(60) % 3)}, "NaN or infinite values in y"),
    "nan as text": ({"X": X, "y": np.where(A(60) == 4, "nan", "a")}, "'nan' among its labels"),
    "too large": ({"X": X, "y": Y * 1e300}, "y has values up to .*beyond float32.*unit"),
    "too small": ({"X": X, "y": Y * 1e-300}, "too little for float32"),
    "no columns": ({"X": X[:, :0], "y": Y}, "one input, got 60 rows and 0 inputs"),
    "constant on the training rows": (
        {"X": X, "y": np.r_[np.full(50, 0.1), A(10.0)], "train_0": A(50), "test_0": A(50, 60)},
        "constant on the training rows",
    ),
}


@pytest.mark.parametrize("what", BAD_ARRAYS)
def test_arrays_that_make_no_table(what, npz):
    arrays, message = BAD_ARRAYS[what]
    with pytest.raises(DataError, match=message):
        table(npz(**arrays))


def test_the_advice_on_nan_works(npz):
    x, y = np.where(X > 2, np.nan, X), Y
    good = np.isfinite(x).all(1)
    assert len(table(npz(X=x[good], y=y[good])).features) == 3


@pytest.mark.parametrize(
    "change",
    [
        lambda x, y: (x[:, 0], y),
        lambda x, y: (x, y[:, None]),
        lambda x, y: (x.astype(">f8"), y.astype(">f8")),
        lambda x, y: (np.asfortranarray(x), y.astype(np.longdouble)),
        lambda x, y: (x.astype(">f4"), y),
    ],
)
def test_other_shapes_and_types_that_can_mean_one_thing(change, npz):
    x, y = change(X, Y)
    made, plain = table(npz(X=x, y=y)), table(npz(X=X[:, :1] if x.ndim == 1 else X, y=Y))
    torch.testing.assert_close(made.x, plain.x)
    torch.testing.assert_close(made.y_test, plain.y_test)


def test_damaged_and_other_files(write, npz, tmp_path):
    whole = Path(npz(X=X, y=Y)).read_bytes()
    for content in (b"", b"nothing of the kind", whole[:200], whole[:600] + b"\0" * 40 + whole[640:]):
        with pytest.raises(DataError, match=r"damaged or no \.npz"):
            table(write(content, "bad.npz"))
    np.save(tmp_path / "one.npy", X)
    (tmp_path / "one.npy").rename(tmp_path / "one.npz")
    with pytest.raises(DataError, match="a single array"):
        table(tmp_path / "one.npz")
    with zipfile.ZipFile(tmp_path / "zip.npz", "w") as made:
        made.writestr("readme.txt", struct.pack("<d", 1.0))
    with pytest.raises(DataError, match="must hold arrays"):
        table(tmp_path / "zip.npz")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataError, match="no file"):
        table(tmp_path / "folder.csv", target="y")
    with pytest.raises(DataError, match="must be one of diabetes"):
        table(tmp_path / "one.parquet")


def test_names_of_the_home_folder(write, monkeypatch):
    path = Path(write(PLAIN))
    monkeypatch.setenv("HOME", str(path.parent))
    assert table("~/mine.csv", target="y").features == ("a", "b")


def test_arguments_that_do_not_belong(npz, write):
    with pytest.raises(DataError, match="missing, drop is for text tables"):
        table(npz(X=X, y=Y), missing="?", drop="x0")
    with pytest.raises(DataError, match=r"wine has the target cultivar.*leave out target"):
        table("wine", target="alcohol")
    with pytest.raises(DataError, match="test_share between 0 and 1"):
        table("wine", test_share=20)
    with pytest.raises(DataError, match=r"leaves 0 for training"):
        table(write(lines("a,y", lambda i: f"{i % 7},{i}.5")), target="y", test_share=0.99)
    with pytest.raises(DataError, match="seed from 0, got -1"):
        table("wine", seed=-1)
    with pytest.raises(DataError, match="decimal to be"):
        table(write(PLAIN), target="y", decimal="comma")
    with pytest.raises(DataError, match="separator to be one character"):
        table(write(PLAIN), target="y", separator="semicolon")


# -------------------------------------------------------------------------------------------------------- standardising


def test_inputs_that_are_constant_on_the_training_rows_are_zero_everywhere(npz):
    """A weight that no training row ever saw must not turn a test row's 1,000 into noise."""
    x = X.copy()
    x[:, 0], x[:50, 1], x[50:, 1] = 0.1, 0.1, 1000.0
    made = table(npz(X=x, y=Y, train_0=A(50), test_0=A(50, 60)))
    assert (made.x[:, :2] == 0).all() and (made.x_test[:, :2] == 0).all() and (made.x_test[:, 2] != 0).all()
    assert any(note.startswith("constant on the training rows") and note.endswith("x0, x1") for note in made.notes)


@pytest.mark.parametrize("unit", [1e-30, 1.0, 1e30])
def test_units_do_not_matter(unit, npz):
    made, plain = table(npz(X=X * unit, y=Y * unit)), table(npz(X=X, y=Y))
    torch.testing.assert_close(made.x, plain.x)
    torch.testing.assert_close(made.y_test, plain.y_test)
    assert made.y_scale == pytest.approx(plain.y_scale * unit)


def test_statistics_are_the_training_rows(npz):
    made = table(npz(X=X, y=Y, train_0=A(40), test_0=A(40, 60)))
    np.testing.assert_allclose(made.x.double(), (X[:40] - X[:40].mean(0)) / X[:40].std(0), atol=1e-6)
    np.testing.assert_allclose(made.x_test.double(), (X[40:] - X[:40].mean(0)) / X[:40].std(0), atol=1e-6)
    assert made.y_mean == pytest.approx(Y[:40].mean()) and made.y_scale == pytest.approx(Y[:40].std())
