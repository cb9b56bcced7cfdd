#!/usr/bin/python3
"""Every model straight from its equations in PyTorch (float64): the oracle for worker/models.

    oracle.py --write DIR [--case NAME]    write the golden files
    oracle.py --check DIR [--case NAME]    compute again and compare with the files (exit status 1 if they differ)

A golden file is text, one line each, in this order:

    model: <ModelConfig in textproto>
    seed: <of the job>
    rows: <of the batch>
    steps: <of Adam>
    draw: <of the numbers, see below>
    field: <name> <kind> <table> <dim> <pooling> <max_length> <target> <linear> <density or ->     one for each field
    <array> [<shape>]: <numbers, row-major>

kind: categorical, numeric or sequence; pooling: mean, sum or history; table and target count from 0, -1: none. Arrays:
"index.<field>", "offsets.<field>" and "number.<field>" are the batch, "label" its labels; "table.<t>" and
"p.<parameter>" initial values; "logit", "loss", "g.table.<t>" and "g.<parameter>" belong to the first step;
"a.table.<t>", "a.<parameter>" and the running statistics "s.<statistic>" are what is left after all steps of Adam (rate
1e-3, betas 0.9 and 0.999, epsilon 1e-8, on all rows of all tables alike); "scored" are the logits in evaluation mode
after that.

What float arithmetic can reach depends on the numbers: where terms cancel, or a BatchNorm divides by next to nothing,
one rounding of an input moves a gradient by a hundred. So --write draws batch and initial values until roundings of
size 2^-23 of all initial values move no gradient by more than 3e-6 of its largest element, and notes the draw.
"""
import argparse
import hashlib
import importlib
import math
import os
import re
import sys

import torch

import cases
from nn import Column, Inputs, Net
from schema import Schema

SEED = 7
STEPS = 10
SCHEMA = Schema.load()


def generator(*names):
    digest = hashlib.sha256('/'.join(names).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], 'big'))


def rounded(x):
    """A multiple of 1/1024: short in the file, and the same number in every precision."""
    return (x * 1024).round().double() / 1024


def indices(count, ids, random):
    """`count` ids; every one of them occurs if there is room."""
    index = torch.cat([torch.randperm(ids, generator=random), torch.randint(ids, (count,), generator=random)])[:count]
    return index[torch.randperm(count, generator=random)]


def column_of(case, draw, field, alike):
    """Values of a field. A history has the lengths `alike`, if they are given."""
    random = generator(case.name, draw, 'column', field.name)
    rows = case.rows
    if field.kind == 'numeric':
        return Column(number=rounded(torch.randn(rows, generator=random)))
    ids = case.tables[field.table][0]
    if field.kind == 'categorical':
        return Column(index=indices(rows, ids, random))
    if field.is_history:
        lengths = alike if alike is not None else torch.randint(field.max_length + 3, (rows,), generator=random)
        lengths[:3] = torch.tensor([0, field.max_length, 1])
    else:
        lengths = torch.randint(4, (rows,), generator=random)
        lengths[1] = 0
    offsets = torch.cat([torch.zeros(1, dtype=torch.long), lengths.cumsum(0)])
    return Column(index=indices(int(offsets[-1]), ids, random), offsets=offsets)


def columns_of(case, draw):
    columns, alike = [], None
    for field in case.fields:
        columns.append(column_of(case, draw, field, alike))
        if field.is_history and alike is None:
            alike = columns[-1].offsets[1:] - columns[-1].offsets[:-1]
    return columns


class Run:
    """A case with its initial values: ten steps of training and one of evaluation."""

    def __init__(self, case, draw=0, dtype=torch.float64):
        self.case, self.draw, self.dtype = case, str(draw), dtype
        self.model = SCHEMA.parse('ModelConfig', case.model)
        kind = self.model.which('kind')
        self.logit_of, self.config = importlib.import_module('models.' + kind).logit, getattr(self.model, kind)
        self.columns = columns_of(case, self.draw)
        for column in self.columns:
            column.number = None if column.number is None else column.number.to(dtype)
        self.label = (torch.rand(case.rows, generator=generator(case.name, self.draw, 'label')) < 0.25).to(dtype)
        self.tables = [self.leaf(torch.randn(*shape, generator=generator(case.name, self.draw, 'table', str(t))) * 0.7)
                       for t, shape in enumerate(case.tables)]
        self.net = Net(self.make, dtype)
        self.inputs = Inputs(case.fields, self.columns, self.tables, case.drawn)
        self.forward(training=True)  # makes the parameters; running statistics start after it
        for name, statistic in self.net.statistics.items():
            statistic.fill_(1 if name.endswith('variance') else 0)

    def leaf(self, x):
        return rounded(x).to(self.dtype).requires_grad_()

    def make(self, name, shape, init):
        # Not the initial values of a job: those leave biases at zero and some parts all but idle.
        values = torch.randn(*shape, generator=generator(self.case.name, self.draw, name))
        scale = min(0.5, 1.2 * shape[-2] ** -0.5) if len(shape) > 1 else 0.3
        return self.leaf(values * scale * self.case.scale + (1 if name.endswith('gamma') else 0))

    def forward(self, training):
        self.net.training = training
        return self.logit_of(self.config, self.inputs, self.net)

    def loss(self, logit):
        return torch.nn.functional.binary_cross_entropy_with_logits(logit, self.label)

    def named(self):
        """All that is trained: tables and parameters."""
        return {**{f'table.{t}': x for t, x in enumerate(self.tables)}, **self.net.parameters}

    def gradients(self, loss):
        wanted = list(self.named().values())
        found = torch.autograd.grad(loss, wanted, allow_unused=True)
        return [torch.zeros_like(x) if g is None else g for x, g in zip(wanted, found)]

    def sensitivity(self, tries=8):
        """By how much roundings of all initial values, which stay moved, move a gradient of largest element 1."""
        initial = [x.detach().clone() for x in self.named().values()]
        exact = self.gradients(self.loss(self.forward(training=True)))
        random, worst = generator('roundings'), 0.0
        for _ in range(tries):
            with torch.no_grad():
                for x, value in zip(self.named().values(), initial):
                    noise = 2 * torch.rand(x.shape, generator=random, dtype=torch.float64) - 1
                    x.copy_(value * (1 + noise * 2 ** -23))
            moved = self.gradients(self.loss(self.forward(training=True)))
            for a, b in zip(moved, exact):
                worst = max(worst, float((a - b).abs().max() / b.abs().max().clamp(min=1e-3)))
        return worst

    def results(self):
        out = {}
        for field, column in zip(self.case.fields, self.columns):
            for part in ('index', 'offsets', 'number'):
                if getattr(column, part) is not None:
                    out[f'{part}.{field.name}'] = getattr(column, part)
        out['label'] = self.label
        named = self.named()
        for name, x in named.items():
            out[name if name.startswith('table.') else 'p.' + name] = x.detach().clone()
        adam = torch.optim.Adam(list(named.values()), lr=1e-3, betas=(0.9, 0.999), eps=1e-8)
        for step in range(STEPS):
            adam.zero_grad()
            logit = self.forward(training=True)
            loss = self.loss(logit)
            for x, gradient in zip(named.values(), self.gradients(loss)):
                x.grad = gradient
            if step == 0:
                out['logit'], out['loss'] = logit.detach(), loss.detach().reshape(1)
                out.update({'g.' + name: x.grad.clone() for name, x in named.items()})
            adam.step()
        out.update({'a.' + name: x.detach() for name, x in named.items()})
        out.update({'s.' + name: s for name, s in self.net.statistics.items()})
        with torch.no_grad():
            out['scored'] = self.forward(training=False)
        return out


def numbers_text(x):
    return ' '.join(str(v) if isinstance(v, int) else f'{v:.12g}' for v in x.reshape(-1).tolist())


def field_text(f):
    density = '-' if f.density is None else f'{f.density:.12g}'
    return f'{f.name} {f.kind} {f.table} {f.dim} {f.pooling} {f.max_length} {f.target} {int(f.linear)} {density}'


def find_draw(case, enough=3e-6, most=300):
    best = (math.inf, 0)
    for draw in range(most):
        best = min(best, (Run(case, draw).sensitivity(), draw))
        if best[0] <= enough:
            break
    if best[0] > enough:
        print(f'{case.name}: the best draw moves by {best[0]:.1e}', file=sys.stderr)
    return best[1]


def golden_text(case, draw):
    run = Run(case, draw)
    lines = [f'model: {case.model}', f'seed: {SEED}', f'rows: {case.rows}', f'steps: {STEPS}', f'draw: {draw}']
    lines += ['field: ' + field_text(f) for f in case.fields]
    for name, x in run.results().items():
        lines.append(f'{name} [{" ".join(map(str, x.shape))}]: {numbers_text(x)}')
    return '\n'.join(lines) + '\n'


def differences(text, golden):
    lines, golden_lines = text.splitlines(), golden.splitlines()
    if len(lines) != len(golden_lines):
        yield f'{len(golden_lines)} lines, computed are {len(lines)}'
    for line, expected in zip(lines, golden_lines):
        (name, numbers), (golden_name, golden_numbers) = line.split(': ', 1), expected.split(': ', 1)
        if name != golden_name:
            yield f'{golden_name}: expected here, found {name}'
        elif ']' not in name:
            if numbers != golden_numbers:
                yield f'{name}: {golden_numbers}, expected is {numbers}'
        else:
            a, b = ([float(v) for v in part.split()] for part in (numbers, golden_numbers))
            scale = max([1e-6] + [abs(v) for v in b])
            worst = max([abs(x - y) for x, y in zip(a, b)] + [0 if len(a) == len(b) else scale])
            if not worst <= 1e-7 * scale:
                yield f'{name}: differs by {worst:g}, largest value {scale:g}'


def check(directory, all_cases):
    failed = False
    for case in all_cases:
        path = os.path.join(directory, case.name + '.txt')
        found = ['missing']
        if os.path.exists(path):
            with open(path, encoding='utf-8') as file:
                golden = file.read()
            draw = int(re.search(r'^draw: (\d+)$', golden, re.MULTILINE)[1])
            found = list(differences(golden_text(case, draw), golden))
        for difference in found:
            print(f'{path}: {difference}')
        failed = failed or bool(found)
    return failed


def main():
    flags = argparse.ArgumentParser()
    flags.add_argument('--write', metavar='DIR')
    flags.add_argument('--check', metavar='DIR')
    flags.add_argument('--case', metavar='NAME')
    args = flags.parse_args()
    torch.set_num_threads(1)
    all_cases = [case for case in cases.all_cases() if args.case in (None, case.name)]
    if not all_cases or not (args.write or args.check):
        flags.error('no such case' if not all_cases else 'one of --write and --check is needed')
    if args.check:
        sys.exit(1 if check(args.check, all_cases) else 0)
    for case in all_cases:
        draw = find_draw(case)
        with open(os.path.join(args.write, case.name + '.txt'), 'w', encoding='utf-8') as file:
            file.write(golden_text(case, draw))


if __name__ == '__main__':
    main()
