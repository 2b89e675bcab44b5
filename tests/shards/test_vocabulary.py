import hashlib
import random
import subprocess
import sys

import pytest

from crawl.errors import UsageError
from shards.tokens import MAX_PIECES, SPECIALS, load_tokenizer, tokenizer_of
from shards.vocabulary import VocabConfig, train_pieces, vocab, words_of
from tests.shards.kept import BeamRun, kept


def counted(count=600):
    draw = random.Random(5)
    return [("".join(draw.choice("abcdefghijklmnop") for _ in range(draw.randint(1, 9))), draw.randint(1, 4))
            for _ in range(count)]


def tokenizer_for(pieces):
    return tokenizer_of("".join(piece + "\n" for piece in pieces).encode(), "vocab.txt")


def test_equal_counts_give_equal_pieces_in_every_process_and_order():
    wanted = hashlib.sha256("\n".join(train_pieces(counted(), VocabConfig(size=300))).encode()).hexdigest()
    shuffled = counted()
    random.Random(1).shuffle(shuffled)
    assert hashlib.sha256("\n".join(train_pieces(shuffled, VocabConfig(size=300))).encode()).hexdigest() == wanted
    code = ("import hashlib; from tests.shards.test_vocabulary import *; "
            "print(hashlib.sha256('\\n'.join(train_pieces(counted(), VocabConfig(size=300))).encode()).hexdigest())")
    # The library seeds its hash maps anew in each process: three would agree by chance once in a great while.
    running = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert {process.communicate()[0].strip() for process in running} == {wanted}


def test_specials_come_first_and_the_size_is_kept():
    pieces = train_pieces(counted(), VocabConfig(size=300))
    assert pieces[:5] == SPECIALS and len(pieces) <= 300 and len(set(pieces)) == len(pieces)


def test_frequent_words_are_whole_and_rare_letters_unknown():
    words = [("lighthouse", 50), ("bridge", 40), ("#", 3), ("§", 1), *counted()]
    pieces = train_pieces(words, VocabConfig(max_alphabet=21))
    tokenizer = tokenizer_for(pieces)
    ids, cut = tokenizer.encode("A Lighthouse, bridge §")
    text = tokenizer.decode(ids)
    assert "lighthouse" in text and "bridge" in text and cut == 0
    assert ids[-1] == tokenizer.ids["[UNK]"] and "§" not in pieces


def test_captions_are_cut_at_41_pieces_and_the_cut_is_counted():
    tokenizer = tokenizer_for([*SPECIALS, "dog"])
    assert tokenizer.encode("dog " * 41) == ([5] * 41, 0)
    assert tokenizer.encode("dog " * 50) == ([5] * MAX_PIECES, 9)
    assert tokenizer.encode("") == ([], 0)


def test_words_are_normalised_as_bert_uncased_does():
    assert words_of("Über-Größe  CAFÉ") == ["uber", "-", "große", "cafe"]


@pytest.mark.parametrize("data, message", [(b"[PAD]\n[UNK]\na\n", r"no \[CLS\]"), (b"\xff\xfe", "not UTF-8"),
                                           ("\n".join([*SPECIALS, "a", "b", "a"]).encode(), "'a' stands twice")])
def test_a_broken_vocabulary_is_one_clear_line(tmp_path, data, message):
    path = tmp_path / "vocab.txt"
    path.write_bytes(data)
    with pytest.raises(UsageError, match=message):
        load_tokenizer(str(path))


def test_a_missing_vocabulary_is_one_clear_line(tmp_path):
    with pytest.raises(UsageError, match="no such vocabulary"):
        vocab(str(tmp_path), VocabConfig(file=str(tmp_path / "vocab.txt")), BeamRun())


def test_the_users_vocabulary_is_copied_as_it_is(tmp_path):
    path = tmp_path / "bert.txt"
    path.write_bytes("\r\n".join([*SPECIALS, "dog", ""]).encode())
    manifest = vocab(str(tmp_path / "out"), VocabConfig(file=str(path)), BeamRun())
    assert (tmp_path / "out" / manifest.folder / "vocab.txt").read_bytes() == path.read_bytes()
    assert manifest.extra["tokenizer_digest"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert load_tokenizer(manifest.paths("vocab")[0]).encode("Dog")[0] == [5]


def test_only_training_captions_are_seen(tmp_path):
    rows = kept(str(tmp_path), 40, caption=lambda n: f"trainee{chr(97 + n % 26)} word{chr(97 + n // 26)} thing")
    manifest = vocab(str(tmp_path), VocabConfig(min_count=1), BeamRun())
    pieces = set(load_tokenizer(manifest.paths("vocab")[0]).vocab)
    for split, wanted in (("train", True), ("test", False)):
        words = {row.caption.split()[0] for row in rows if row.split == split}
        others = {row.caption.split()[0] for row in rows if row.split != split}
        assert words - others and all((word in pieces) == wanted for word in words - others)
