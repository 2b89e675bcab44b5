"""Makes tests/model/bert_fixture.safetensors: a small random BERT of `transformers` and what it says, in float64.

    $(python -m benchmarks.peers transformers)/bin/python tests/model/bert_fixture.py

The file holds the published names of the weights, and under `fixture.` the inputs and outputs of BertForPreTraining.
Three text-only sequences in our layout (paper, section 2.3), given to BERT one by one.
"""
from __future__ import annotations

import pathlib

import torch
from safetensors.torch import save_file

FILE = pathlib.Path(__file__).with_suffix(".safetensors")
LENGTHS = (5, 9, 2)                    # word pieces of the three sequences
CLS, SEP = 2, 3


def main() -> None:
    """Writes the file."""
    import transformers  # only in the environment of the peer; pytest looks into this file too

    torch.manual_seed(20)
    config = transformers.BertConfig(
        vocab_size=50, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=32, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, initializer_range=0.3,
        attn_implementation="eager")
    bert = transformers.BertForPreTraining(config).double().eval()
    with torch.no_grad():
        for name, parameter in bert.named_parameters():        # LayerNorms and biases too: 1 and 0 would hide a mix-up
            if "LayerNorm" in name or name.endswith("bias"):
                parameter.add_(torch.randn_like(parameter) * 0.3)
    kept = {name: tensor.clone() for name, tensor in bert.state_dict().items()
            if "position_ids" not in name and name != "cls.predictions.decoder.weight"}     # tied to the word table
    hidden, pooled, logits, words = [], [], [], []
    for length in LENGTHS:
        pieces = torch.randint(5, config.vocab_size, (length,))
        ids = torch.cat([torch.tensor([CLS]), pieces, torch.tensor([SEP])])
        positions = torch.cat([torch.tensor([0]), torch.arange(3, length + 4)])
        segments = torch.cat([torch.tensor([0]), torch.ones(length + 1, dtype=torch.long)])
        with torch.no_grad():
            said = bert(input_ids=ids[None], position_ids=positions[None], token_type_ids=segments[None],
                        output_hidden_states=True)
            hidden.append(said.hidden_states[-1][0])
            pooled.append(bert.bert.pooler(said.hidden_states[-1])[0])
            logits.append(said.prediction_logits[0])
        words.append(pieces)
    save_file(kept | {"fixture.words": torch.cat(words), "fixture.lengths": torch.tensor(LENGTHS),
                      "fixture.hidden": torch.cat(hidden), "fixture.pooled": torch.stack(pooled),
                      "fixture.logits": torch.cat(logits)}, FILE,
              metadata={"made_with": f"transformers {transformers.__version__}, torch {torch.__version__}"})
    print(f"{FILE.name}: {FILE.stat().st_size} bytes, transformers {transformers.__version__}")


if __name__ == "__main__":
    main()
