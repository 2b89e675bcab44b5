import dataclasses
import pathlib

import pytest
import torch
from safetensors.torch import load_file, save_file

from model.bert_weights import UnusableWeights, load_bert
from tests.model.packs import SPECIAL, sample, tiny_model
from train.packing import Rows, build_pack, capacity_for

D = 16
FIXTURE = pathlib.Path(__file__).with_name("bert_fixture.safetensors")


def bert_state(gamma=False, prefix=""):
    """Returns a made-up small BERT under the published names (paper.md 9.9)."""
    generator = torch.Generator().manual_seed(3)

    def values(*shape):
        return torch.randn(*shape, generator=generator)
    scale, shift = ("gamma", "beta") if gamma else ("weight", "bias")
    state = {"embeddings.word_embeddings.weight": values(50, D), "embeddings.position_embeddings.weight": values(32, D),
             "embeddings.token_type_embeddings.weight": values(2, D), f"embeddings.LayerNorm.{scale}": values(D),
             f"embeddings.LayerNorm.{shift}": values(D), "pooler.dense.weight": values(D, D),
             "pooler.dense.bias": values(D)}
    for layer in range(2):
        start = f"encoder.layer.{layer}."
        for name, out, width in (("attention.self.query", D, D), ("attention.self.key", D, D),
                                 ("attention.self.value", D, D), ("attention.output.dense", D, D),
                                 ("intermediate.dense", 32, D), ("output.dense", D, 32)):
            state |= {f"{start}{name}.weight": values(out, width), f"{start}{name}.bias": values(out)}
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            state |= {f"{start}{name}.{scale}": values(D), f"{start}{name}.{shift}": values(D)}
    heads = {"cls.predictions.bias": values(50), "cls.predictions.transform.dense.weight": values(D, D),
             "cls.predictions.transform.dense.bias": values(D),
             f"cls.predictions.transform.LayerNorm.{scale}": values(D),
             f"cls.predictions.transform.LayerNorm.{shift}": values(D), "cls.seq_relationship.weight": values(2, D),
             "cls.seq_relationship.bias": values(2)}
    return {prefix + name: value for name, value in state.items()} | heads


@pytest.mark.parametrize("gamma", [False, True])
@pytest.mark.parametrize("prefix", ["", "bert."])
@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_both_naming_styles_give_equal_weights(tmp_path, gamma, prefix, suffix):
    path = str(tmp_path / f"weights.{suffix}")
    (save_file if suffix == "safetensors" else torch.save)(bert_state(gamma, prefix), path)
    model = tiny_model().float()
    report = load_bert(model, path)
    assert (report.missing, report.unexpected) == ((), ())
    plain = bert_state()
    query, key, value = model.layers[1].qkv.weight.chunk(3)
    for part, name in ((query, "query"), (key, "key"), (value, "value")):
        assert torch.equal(part, plain[f"encoder.layer.1.attention.self.{name}.weight"])
    assert torch.equal(model.embeddings.word_norm.bias, plain["embeddings.LayerNorm.bias"])
    assert torch.equal(model.embeddings.region_norm.bias, plain["embeddings.LayerNorm.bias"])     # section 2.5
    assert torch.equal(model.mlm.decoder.weight, plain["embeddings.word_embeddings.weight"])
    assert torch.equal(model.mlm.decoder.bias, plain["cls.predictions.bias"])
    taken = {name.removesuffix("LayerNorm") for name in report.loaded}
    assert {"layers.0.expand.weight", "layers.1.output_norm.bias", "pooler.weight", "mlm.norm.weight"} <= taken


def test_missing_and_unexpected_names_are_all_reported(tmp_path):
    state = bert_state()
    del state["encoder.layer.1.output.dense.bias"], state["pooler.dense.bias"]
    state |= {"encoder.layer.2.output.dense.bias": torch.zeros(D), "classifier.weight": torch.zeros(2)}
    path = str(tmp_path / "weights.safetensors")
    save_file(state, path)
    report = load_bert(tiny_model().float(), path)
    assert report.missing == ("encoder.layer.1.output.dense.bias", "pooler.dense.bias")
    assert report.unexpected == ("classifier.weight", "encoder.layer.2.output.dense.bias")


def test_what_is_no_bert_is_refused(tmp_path):
    path = str(tmp_path / "other.safetensors")
    save_file({"visual.conv1.weight": torch.zeros(3)}, path)
    with pytest.raises(UnusableWeights, match="no name of a BERT encoder"):
        load_bert(tiny_model(), path)
    with pytest.raises(UnusableWeights, match="no such file"):
        load_bert(tiny_model(), str(tmp_path / "missing.bin"))
    wide = bert_state()
    wide["pooler.dense.weight"] = torch.zeros(D + 1, D)
    save_file(wide, path)
    with pytest.raises(UnusableWeights, match=r"pooler.dense.weight is \[17, 16\], the model has \[16, 16\]"):
        load_bert(tiny_model().float(), path)


class Code:
    def __reduce__(self):
        return print, ("code in a weights file ran",)


def test_a_file_that_wants_to_run_code_is_refused(tmp_path, capsys):
    path = str(tmp_path / "evil.bin")
    torch.save({"a": Code()}, path)
    with pytest.raises(UnusableWeights, match="convert it to safetensors"):
        load_bert(tiny_model(), path)
    assert "ran" not in capsys.readouterr().out
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\x00\x00")
    with pytest.raises(UnusableWeights, match="cannot be read as weights"):
        load_bert(tiny_model(), str(tmp_path / "cut.safetensors"))


def test_a_bert_of_transformers_says_the_same_here(tmp_path):
    """Hidden states, pooler and word logits of `transformers.BertForPreTraining`: tests/model/bert_fixture.py."""
    assert FIXTURE.stat().st_size < 1_000_000
    stored = load_file(FIXTURE)
    said = {name.removeprefix("fixture."): stored.pop(name) for name in sorted(stored) if name.startswith("fixture.")}
    path = str(tmp_path / "bert.safetensors")
    save_file(stored, path)
    model = tiny_model(hidden=32, layers=3, heads=4, intermediate=64)
    report = load_bert(model, path)
    assert (report.missing, report.unexpected) == ((), ())
    lengths = said["lengths"].tolist()
    pieces = said["words"].split(lengths)
    chosen = [dataclasses.replace(sample(place, regions=1), words=words.numpy()) for place, words in enumerate(pieces)]
    rows = Rows.singles(len(chosen))
    pack = build_pack(chosen, rows, SPECIAL, capacity_for(chosen, rows, SPECIAL)).cropped()
    hidden = model.encode(pack)
    starts, ends = pack.cu_seqlens[:-1], pack.cu_seqlens[1:]
    texts = torch.cat([hidden[starts[at]:ends[at]] for at in pack.contrast_texts.tolist()])
    pooled = torch.tanh(model.pooler(hidden[pack.first_tokens[pack.contrast_texts]]))
    for ours, theirs in ((texts, said["hidden"]), (pooled, said["pooled"]), (model.mlm(texts), said["logits"])):
        assert ours.dtype == theirs.dtype == torch.float64
        assert (ours - theirs).abs().max() <= 1e-10
