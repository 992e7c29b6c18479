"""An exported model in lm-evaluation-harness, on a file of one's own: the same bits per byte as ours.

    pip install lm_eval accelerate
    python tests/harness.py runs/docs/exp6/seed0/model

The harness takes a folder as `pretrained`, and a task from a YAML file that names the data. What it needs of the export
is the length of the context, a tokenizer that it can load, and an end-of-text token, which it puts before each text.
"""
import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from transformers import AutoTokenizer

from minigpt.beyond.model import read_model

TASK = '''
task: my_text
dataset_path: json
dataset_kwargs: {data_files: {test: DATA}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}"
process_results: !function measures.process_results
metric_list:
  - {metric: bits_per_byte, aggregation: bits_per_byte, higher_is_better: false}
'''
MEASURES = '''
def process_results(doc, results):
    return {"bits_per_byte": (results[0], len(doc["text"].encode()))}
'''
TEXTS = ['Return the name of the file, or None if the file does not exist.\n\nA naïve café is not a file. '*6,
         'The argument may be an integer or a floating point number.', 'One line\nand another.']


def of_harness(model, folder):
    "What the harness measures on a task in a folder"
    (folder/'texts.jsonl').write_text(''.join(json.dumps({'text': text}) + '\n' for text in TEXTS))
    (folder/'measures.py').write_text(MEASURES)
    (folder/'my_text.yaml').write_text(TASK.replace('DATA', str(folder/'texts.jsonl')))
    line = [sys.executable, '-m', 'lm_eval', '--model', 'hf', '--model_args', f'pretrained={model}', '--device', 'cpu',
            '--tasks', 'my_text', '--include_path', folder, '--output_path', folder/'out', '--batch_size', '2']
    done = subprocess.run(list(map(str, line)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    results = json.loads(next((folder/'out').rglob('results*.json')).read_text())
    return results['results']['my_text']['bits_per_byte,none']


@torch.no_grad()
def of_ours(where):
    "The same by hand: each token once, in full windows, the first after an end of text"
    model, tokenizer = read_model(where).eval(), AutoTokenizer.from_pretrained(where)
    context, nats, n_bytes = model.cfg.n_positions, 0., 0
    for text in TEXTS:
        ids = torch.tensor([tokenizer.eos_token_id, *tokenizer(text, verbose=False).input_ids])
        for start in range(0, len(ids) - 1, context):
            end = min(start + context, len(ids) - 1)
            window = ids[max(0, end - context):end + 1]
            costs = -model(window[None, :-1])[0].log_softmax(-1).gather(1, window[1:, None])
            nats += costs[start - end:].sum().item()
        n_bytes += len(text.encode())
    return nats/n_bytes/math.log(2)


if __name__ == '__main__':
    where = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as folder:
        theirs, ours = of_harness(where, Path(folder)), of_ours(where)
    print(f'bits per byte: {theirs:.5f} by the harness, {ours:.5f} by ours')
    assert abs(theirs - ours) < 1e-4*ours
