"""What the commands do in a plain installation, as one meets them in a shell.

nbdev cannot run with the fastcore that `pip install -e .` brings, so these assertions are a plain file. After the
installation, from anywhere:

    python tests/commands.py

It writes into a temporary folder, prints a line for each thing that holds, and fails at the first that does not.
"""
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

README = (Path(__file__).resolve().parents[1]/'README.md').read_text(encoding='utf-8')
COMMANDS = ('minigpt_data', 'minigpt_train', 'minigpt_experiments', 'minigpt_generate',
            'minigpt_report', 'minigpt_push', 'minigpt_page', 'minigpt_grade', 'minigpt_bench')
ASCII_LOCALE = dict(LC_ALL='C', PYTHONCOERCECLOCALE='0', PYTHONUTF8='0')  # as on an old server
tmp = Path(tempfile.mkdtemp())
started = time.perf_counter()


def run(*words, stdin='', **env):
    "What a command does: exit code, output and errors, in an empty folder of the test"
    program = shutil.which(words[0])
    assert program, f'{words[0]} is not installed'
    plain = {**os.environ, 'HF_HUB_OFFLINE': '1', 'TQDM_DISABLE': '1', 'PYTHONWARNINGS': 'default',
             'OMP_NUM_THREADS': '1', **env}  # several commands run at a time
    words = [word if isinstance(word, bytes) else str(word) for word in words[1:]]
    return subprocess.run([program, *words], cwd=tmp, env=plain, input=stdin.encode(), capture_output=True)


def works(*words, **options):
    "The output of a command that must work, without a warning from a line of ours"
    done = run(*words, **options)
    errors = done.stderr.decode(errors='replace')
    assert done.returncode == 0, f'{words} ended with {done.returncode}:\n{errors}'
    warnings = re.findall(r'minigpt/\S+\.py:\d+: \w*Warning.*', errors)
    assert not warnings, f'{words} warns: {warnings}'
    return done.stdout.decode(errors='replace')


def refused(*words, contains, **options):
    "The sentence of a command that must end with 1 and nothing but a sentence"
    done = run(*words, **options)
    said = done.stderr.decode(errors='replace').strip()
    assert done.returncode == 1, f'{words} ended with {done.returncode}:\n{said}'
    lines = [line for line in said.splitlines() if 'Warning' not in line and not line.startswith('  ')]
    assert len(lines) == 1 and lines[0].startswith(f'{words[0]}: '), f'{words} said more than a sentence:\n{said}'
    assert contains in said, f'{words} said {said!r}, not {contains!r}'


def ok(what):
    "Say that something holds"
    print(f'ok    {what} ({time.perf_counter() - started:.0f} s)', flush=True)


def options_of(command):
    "The options that a command documents: name → whether it takes a value"
    text = works(command, '--help')
    return {name: bool(value) for name, value in re.findall(r'^  --([\w-]+)( [A-Z]+)?', text, re.MULTILINE)}


def takes(command, option, has_value):
    "Does a command know this spelling of an option? Then it misses a value, or has one too many."
    word = option if has_value else f'{option}=1'
    said = run(command, word).stderr.decode()
    return ('expected one argument' if has_value else 'ignored explicit argument') in said


def check_installation():
    "The installation is a plain one, and every module can be imported in it"
    versions = {name: importlib.metadata.version(name) for name in (
        'fastcore', 'torch', 'transformers', 'tokenizers', 'datasets', 'huggingface_hub', 'numpy', 'pandas',
        'scipy', 'matplotlib', 'jinja2')}
    print('python', sys.version.split()[0], *(f'{name} {version}' for name, version in versions.items()))
    program = '''
import importlib, pkgutil, sys
for name in ('nbdev', 'execnb', 'IPython', 'matplotlib_inline', 'pytest'): sys.modules[name] = None
import minigpt
for module in pkgutil.walk_packages(minigpt.__path__, 'minigpt.'):
    if not module.name.endswith('_modidx'): importlib.import_module(module.name)
assert 'matplotlib.pyplot' not in sys.modules, 'a module imports pyplot'
'''
    done = subprocess.run([sys.executable, '-c', program], cwd=tmp, capture_output=True, text=True,
                          env={**os.environ, 'MPLBACKEND': 'module://matplotlib_inline.backend_inline'})
    assert done.returncode == 0, done.stderr
    ok('every module is imported without the development tools, whatever the drawing program')


def check_options():
    "Every documented option exists, with - and with _"
    spellings = []
    documented = set()
    for command in COMMANDS:
        for name, has_value in options_of(command).items():
            if name == 'help':
                continue
            documented.add(name.replace('-', '_'))
            for option in {f'--{name}', '--' + name.replace('_', '-'), '--' + name.replace('-', '_')}:
                spellings.append((command, option, has_value))
    ok(f'--help of {len(COMMANDS)} commands')
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        taken = list(pool.map(lambda spelling: takes(*spelling), spellings))
    unknown = [spelling[:2] for spelling, yes in zip(spellings, taken) if not yes]
    assert not unknown, f'not taken: {unknown}'
    in_readme = {name.replace('-', '_') for name in re.findall(r'--([a-z][a-z_-]+)', README)}
    others = {'help', 'nproc_per_node', 'no_python'}  # of torchrun
    assert in_readme - others <= documented, f'the README knows more: {in_readme - others - documented}'
    assert not takes('minigpt_data', '--no_such_option', True)
    ok(f'{len(spellings)} spellings of {len(documented)} options')


def check_data():
    "The blocks of a small corpus, the same in both spellings"
    first = works('minigpt_data', '--max_blocks', 60, '--out', 'data', '--split', 'block', '--passport_to', 'a.json')
    second = works('minigpt_data', '--max-blocks=60', '--out=data', '--split=block', '--passport-to=b.json')
    assert first == second and 'fingerprint' in first
    assert (tmp/'a.json').read_bytes() == (tmp/'b.json').read_bytes()
    ok('minigpt_data')


def check_training():
    "A tiny model"
    said = works('minigpt_train', '--max_blocks', 60, '--split', 'block', '--n_embd', 16, '--n-layer', 1, '--n_head', 2,
                 '--epochs', 1, '--batch-size', 16, '--name', 'tiny', '--save_minutes', 5)
    assert 'validation perplexity' in said
    run_folder = next((tmp/'runs').glob('*/tiny/seed0'))
    ok('minigpt_train')
    return run_folder


def check_sharing(run_folder):
    "The run is found, speaks, and is prepared for the Hub"
    drawn = works('minigpt_generate', '--prompt', 'The return value', '--max_new_tokens', 8, '--seed', 1, '--top-k', 5)
    assert drawn.startswith('The return value') and len(drawn) > 20
    again = works('minigpt_generate', '--model', run_folder, '--max-new-tokens', 8, '--seed', 1, '--top_k', 5,
                  stdin='The return value\n')
    assert again == drawn
    ok('minigpt_generate, from --prompt and from standard input')

    said = works('minigpt_push', run_folder, '--repo-id', 'me/tiny', '--dry_run')
    assert 'nothing was' in said and (run_folder/'hub/README.md').exists()
    assert works('minigpt_push', run_folder, '--repo_id=me/tiny', '--dry-run') == said
    ok('minigpt_push --dry_run')

    page = works('minigpt_page', run_folder, '--out', 'page.html').strip()
    assert (tmp/page).read_text(encoding='utf-8').startswith('<!DOCTYPE html>') and (tmp/page).stat().st_size > 50_000
    assert works('minigpt_page', run_folder, '--other', run_folder, '--out=page.html').strip() == page  # ours is replaced
    ok('minigpt_page')


def check_grading():
    "The points of a notebook without an answer, and of none"
    cell = {'cell_type': 'markdown', 'id': 'a1', 'metadata': {}, 'source': 'No answer'}
    handed_in = {'cells': [cell], 'metadata': {}, 'nbformat': 4, 'nbformat_minor': 5}
    (tmp/'handed_in').mkdir()
    (tmp/'handed_in/ex0_data.ipynb').write_text(json.dumps(handed_in))
    works('minigpt_grade', 'handed_in', '--out', 'grades', '--seconds', 20, '--memory=2000')
    grades = json.loads((tmp/'grades/grades.json').read_text())
    assert grades and (tmp/'grades/grades.csv').exists(), grades
    ok('minigpt_grade')


def check_experiments():
    "Two experiments and the recipe, from text to report"
    words = ('minigpt_experiments', '--experiments', 'exp1,exp3,exp6', '--max_blocks', 60, '--split', 'block', '--epochs', 1,
             '--out', 'study')
    said = works(*words)
    folder = Path(said.splitlines()[-1])
    assert (tmp/folder).name == 'report.html' and (tmp/folder).stat().st_size > 10_000
    assert works(*words, '--max-blocks=60').splitlines()[-1] == said.splitlines()[-1]  # finished: nothing is trained
    results = (tmp/folder).parent
    assert 'Set apart from these, Exp 6' in said and 'What the same tokens can do' in (tmp/folder).read_text(encoding='utf-8')
    ok('minigpt_experiments, two of them and the recipe beside them, with a report')

    said = works('minigpt_report', '--results', results, '--out', 'there', '--keep-in', 'kept')
    assert Path(said.strip()).name == 'report.html' and (tmp/'there/report.html').exists()
    assert list((tmp/'kept').rglob('metrics.json'))
    ok('minigpt_report')
    return results


def check_bench():
    "The benchmark at a tiny shape"
    said = works('minigpt_bench', '--n_embd', 16, '--n-layer', 1, '--n_head', 2, '--n_positions', 16, '--vocab-size', 64,
                 '--batch_size', 2, '--steps', 1, '--repeats', 1, '--device', 'cpu', '--today', MPLBACKEND='no such backend')
    assert 'ours' in said and "today's recipe" in said and {p.name for p in (tmp/'bench').iterdir()} >= {'bench.json', 'bench.png', 'bench.svg'}
    ok('minigpt_bench, which draws without a backend')


def damaged_copy(run_folder):
    "A copy of a run in whose results a digit is another one"
    copy = shutil.copytree(run_folder, tmp/'damaged/exp1/seed0')
    metrics = (copy/'metrics.json').read_bytes()
    (copy/'metrics.json').write_bytes(metrics[:len(metrics)//2])
    return copy


def check_refusals(run_folder):
    "Bad input is one sentence and exit code 1"
    data = ('--max_blocks', 60, '--split', 'block')
    damaged = damaged_copy(run_folder)
    token = 'hf_' + 'ThisIsNoRealToken'
    outside = f'../../beside {tmp.name}'  # of the folder for runs, and of this test's own
    (tmp/'a_file').write_text('mine')
    (tmp/'thesis.html').write_text('mine')
    bad = [
        (('minigpt_data', '--corpus', 'doks'), 'doks'),
        (('minigpt_data', '--packing', 'tight'), "packing is 'tight'"),
        (('minigpt_data', '--hub_root', 'nowhere', '--corpus', 'report'), 'nowhere'),
        (('minigpt_train', '--lr', '-1'), 'lr'),
        (('minigpt_train', '--dtype', 'float8', *data), "dtype is 'float8'"),
        (('minigpt_train', '--n_head', 3, *data), 'n_head=3'),
        (('minigpt_experiments', '--experiments', 'exp9'), 'exp9'),
        (('minigpt_train', '--experiment', 'exp9', *data), 'exp9'),
        (('minigpt_train', '--experiment', 'assignment', *data), 'name one of them'),
        (('minigpt_experiments', '--seeds', '0;1'), "seeds is '0;1'"),
        (('minigpt_experiments', '--resume'), 'backup'),
        (('minigpt_generate', '--model', 'nowhere', '--prompt', 'The'), 'nowhere'),
        (('minigpt_generate', '--model', run_folder, '--prompt', ''), 'is empty'),
        (('minigpt_generate', '--model', run_folder, '--prompt', 'The', '--top_p', 2), 'top_p'),
        (('minigpt_generate', '--out', 'nowhere'), 'nowhere'),
        (('minigpt_report', '--results', 'nowhere'), 'nowhere'),
        (('minigpt_push', 'nowhere', '--repo_id', 'me/tiny'), 'nowhere'),
        (('minigpt_push', run_folder, '--dry_run'), 'repo_id'),
        (('minigpt_bench', '--steps', 0), 'steps is 0'),
        (('minigpt_data', '--max_blocks', 0), 'max_blocks is 0: it must be at least 1'),
        (('minigpt_data', '--out', ''), 'out is empty'),
        (('minigpt_data', '--out', 'a_file/data', *data), 'Cannot write to a_file/data'),
        (('minigpt_train', '--batch-size', 0), 'batch_size is 0'),
        (('minigpt_train', '--save-minutes', 'nan'), 'save_minutes is nan'),
        (('minigpt_train', '--minutes', 'inf'), 'minutes is inf'),
        (('minigpt_train', '--lr', 'nan'), 'lr is nan'),
        (('minigpt_train', '--seed=-1',), 'seed is -1'),
        (('minigpt_train', '--name', outside), f'name is {outside!r}'),
        (('minigpt_experiments', '--seeds', '0,0'), "seeds is '0,0'"),
        (('minigpt_experiments', '--experiments', 'exp1,exp1'), 'name each once'),
        (('minigpt_generate', '--model', run_folder, '--prompt', 'The', '--temperature', 'nan'), 'temperature is nan'),
        (('minigpt_bench', '--out', 'a_file'), 'Cannot write to a_file'),
        (('minigpt_push', run_folder, '--repo_id', token, '--dry_run'), 'hf_***'),
        (('minigpt_push', damaged, '--repo_id', 'me/tiny', '--dry_run'), 'metrics.json is missing or damaged'),
        (('minigpt_page', damaged), 'metrics.json is missing or damaged'),
        (('minigpt_page', run_folder, '--out', 'thesis.html'), 'thesis.html is there already'),
        (('minigpt_page', 'nowhere'), 'is no run folder'),
        (('minigpt_grade', 'nowhere.ipynb'), 'nowhere.ipynb does not exist'),
        (('minigpt_grade', 'nowhere.ipynb', '--seconds', 0), 'seconds is 0')]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda case: refused(*case[0], contains=case[1]), bad))
    assert (tmp/'thesis.html').read_text() == 'mine' and not (tmp.parent/Path(outside).name).exists()
    ok(f'{len(bad)} kinds of bad input, a sentence for each')


def check_pipes():
    "A reader that has seen enough, as `head` has, is no error"
    words = [shutil.which('minigpt_data'), '--max_blocks', '60', '--split', 'block', '--out', 'data']
    env = {**os.environ, 'HF_HUB_OFFLINE': '1', 'TQDM_DISABLE': '1'}
    talking = subprocess.Popen(words, cwd=tmp, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    talking.stdout.close()
    said = talking.stderr.read().decode(errors='replace')
    assert talking.wait() == 141 and 'Errno' not in said and 'Traceback' not in said, said
    ok('a closed pipe')


def check_terminals(run_folder):
    "A terminal without UTF-8 gets replacement characters"
    prompt = ('minigpt_generate', '--model', run_folder, '--max_new_tokens', 2)
    assert works(*prompt, '--prompt', 'Déjà vu', PYTHONIOENCODING='ascii').startswith('D?j? vu')
    works(*prompt, stdin='Déjà vu', PYTHONIOENCODING='ascii')
    works(*prompt, stdin='Déjà vu', **ASCII_LOCALE)
    works(*prompt, '--prompt', 'Déjà vu', **ASCII_LOCALE)
    works(*prompt, '--prompt', b'caf\xe9', stdin='')  # Latin-1 in a terminal of UTF-8
    refused('minigpt_data', '--corpus', 'Déjà', contains='D', PYTHONIOENCODING='ascii')
    ok('terminals that are not UTF-8')


def check_drawing(results):
    "A report where the drawing program is missing that a notebook named, and files are ASCII by default"
    inline = 'module://matplotlib_inline.backend_inline'
    works('minigpt_report', '--results', results, MPLBACKEND=inline, **ASCII_LOCALE)
    works('minigpt_report', '--results', results, MPLBACKEND='no such backend')
    ok('drawing programs that are not there')


def on_a_run():
    "Train a tiny model, and do with it what one does"
    run_folder = check_training()
    check_sharing(run_folder)
    check_grading()
    check_refusals(run_folder)
    check_pipes()
    check_terminals(run_folder)


def on_a_study():
    "Two experiments and their report, and a benchmark"
    check_drawing(check_experiments())
    check_bench()


def main():
    "All of it, the longer parts side by side"
    check_installation()
    check_options()
    check_data()
    with ThreadPoolExecutor() as pool:
        for done in (pool.submit(on_a_study), pool.submit(on_a_run)):
            done.result()
    shutil.rmtree(tmp)


if __name__ == '__main__':
    main()
