#!/usr/bin/python3
"""DLF, profile A, straight from its equations in PyTorch (float64): an oracle for worker/models/dlf.cc.

    dlf_oracle.py --write DIR    write the golden files
    dlf_oracle.py --check DIR    compute again and compare with the files (exit status 1 if they differ)

Nothing is shared with the C++ code but the names of parameters. A golden file is text, one array per
line: name, a colon, numbers. `config` holds fields, numeric fields, ids, dim, layers, implicit, block,
rank, hidden, head, rows, steps. Arrays: index [numeric fields left out: fields][rows], number [numeric
fields][rows], label [rows], table [ids, dim], initial values "p.<name>", and results: logit, loss,
gradients "g.<name>" and g.table of the first step; after `steps` steps of Adam (rate 1e-3, betas 0.9
and 0.999, epsilon 1e-8; every row of the table has a gradient in each step) "a.<name>", a.table, and
the logits in evaluation mode, scored. "s.<name>" are running statistics after the last step.
"""
import argparse
import os
import sys

import torch

EPSILON = 1e-5  # of LayerNorm and BatchNorm

CASES = {
    # fields, numeric fields (the last ones), ids, dim, layers, implicit, block, rank, hidden, head, rows, steps
    'dlf_project': (6, 1, 9, 4, 3, 3, 2, 5, 9, 8, 21, 10),
    'dlf_square': (7, 0, 11, 3, 2, 3, 2, 4, 6, 5, 37, 10),  # as many fields as tokens: no projection
}
CONFIG = ('fields', 'numeric', 'ids', 'dim', 'layers', 'implicit', 'block', 'rank', 'hidden', 'head', 'rows', 'steps')


class Case:
    def __init__(self, name):
        self.__dict__.update(zip(CONFIG, CASES[name]))
        self.config = CASES[name]
        self.p, self.statistics = {}, {}
        torch.manual_seed(2026)
        rows, categorical = self.rows, self.fields - self.numeric
        # Every id occurs, so that each row of the table has a gradient.
        self.index = torch.stack([torch.cat([torch.arange(self.ids), torch.randint(self.ids, (rows - self.ids,))])
                                  [torch.randperm(rows)] for _ in range(categorical)])
        self.number = torch.randn(self.numeric, rows).float().double()
        self.label = torch.randint(2, (rows,)).double()
        self.table = self.leaf(torch.randn(self.ids, self.dim) * 0.5)
        for f in range(categorical, self.fields):
            self.add(f'numeric.f{f}', self.dim)
        made = self.implicit + 2 * self.block
        for l in range(1, self.layers + 1):
            tokens = self.fields if l == 1 else made
            if tokens != self.fields:
                self.add(f'layer{l}.project', self.fields, tokens)
            for block in ('high', 'low'):
                self.add(f'layer{l}.{block}.compress', tokens, self.rank)
                self.add_norm(f'layer{l}.{block}.norm', tokens * self.rank)
                self.add_mlp(f'layer{l}.{block}.mlp', tokens * self.rank, self.hidden, self.block * self.dim)
            self.add(f'layer{l}.implicit', tokens, self.implicit)
            if tokens != made:
                self.add(f'layer{l}.residual', tokens, made)
            self.add_norm(f'layer{l}.norm', self.dim)
        self.add_mlp('head', made * self.dim, self.head, 1)

    @staticmethod
    def leaf(x):
        return x.float().double().requires_grad_()  # exactly a float, so that all precisions start equal

    def add(self, name, *shape):
        self.p[name] = self.leaf(torch.randn(*shape) * 0.4)

    def add_norm(self, name, size):
        self.p[name + '.gamma'] = self.leaf(1 + 0.2 * torch.randn(size))
        self.p[name + '.beta'] = self.leaf(0.2 * torch.randn(size))

    def add_mlp(self, name, inputs, hidden, outputs):
        self.add(name + '.0.weight', inputs, hidden)
        self.add(name + '.0.bias', hidden)
        self.add_norm(name + '.0.norm', hidden)
        self.statistics[name + '.0.norm.running_mean'] = torch.zeros(hidden).double()
        self.statistics[name + '.0.norm.running_variance'] = torch.ones(hidden).double()
        self.add(name + '.1.weight', hidden, outputs)
        self.add(name + '.1.bias', outputs)

    def layer_norm(self, x, name):
        centred = x - x.mean(-1, keepdim=True)
        normal = centred / torch.sqrt((centred ** 2).mean(-1, keepdim=True) + EPSILON)
        return normal * self.p[name + '.gamma'] + self.p[name + '.beta']

    def batch_norm(self, x, name, training):
        mean, variance = self.statistics[name + '.running_mean'], self.statistics[name + '.running_variance']
        if training:
            batch_mean, n = x.mean(0), x.shape[0]
            batch_variance = ((x - batch_mean) ** 2).mean(0)
            with torch.no_grad():
                mean += 0.1 * (batch_mean - mean)
                variance += 0.1 * (batch_variance * n / (n - 1) - variance)
            mean, variance = batch_mean, batch_variance
        return (x - mean) / torch.sqrt(variance + EPSILON) * self.p[name + '.gamma'] + self.p[name + '.beta']

    def mlp(self, x, name, training):
        h = x @ self.p[name + '.0.weight'] + self.p[name + '.0.bias']
        h = torch.clamp(self.batch_norm(h, name + '.0.norm', training), min=0)
        return h @ self.p[name + '.1.weight'] + self.p[name + '.1.bias']

    def gram(self, left, e, compress):  # left (e^T Y), [rows, tokens, rank]
        return torch.einsum('bnj,bmj,mk->bnk', left, e, compress)

    def forward(self, training):
        categorical = self.table[self.index]  # [fields, rows, dim]
        numeric = [self.number[i][:, None] * self.p[f'numeric.f{self.fields - self.numeric + i}']
                   for i in range(self.numeric)]
        first = torch.cat([categorical, torch.stack(numeric)] if numeric else [categorical]).transpose(0, 1)
        e = first
        for l in range(1, self.layers + 1):
            name = f'layer{l}.'
            x0 = torch.einsum('fn,bfj->bnj', self.p[name + 'project'], first) if name + 'project' in self.p else first
            parts = []
            for block, left in (('high', e), ('low', x0)):
                g = self.gram(left, e, self.p[f'{name}{block}.compress']).reshape(self.rows, -1)
                z = self.mlp(self.layer_norm(g, f'{name}{block}.norm'), f'{name}{block}.mlp', training)
                parts.append(z.reshape(self.rows, self.block, self.dim))
            parts.append(torch.einsum('nm,bnj->bmj', self.p[name + 'implicit'], e))
            o = torch.cat(parts, 1)
            r = torch.einsum('nm,bnj->bmj', self.p[name + 'residual'], e) if name + 'residual' in self.p else e
            e = self.layer_norm(o + r, name + 'norm')
        return self.mlp(e.reshape(self.rows, -1), 'head', training)[:, 0]

    def run(self):
        out = {'config': torch.tensor(self.config), 'index': self.index, 'number': self.number, 'label': self.label,
               'table': self.table.detach().clone()}
        out.update({'p.' + name: p.detach().clone() for name, p in self.p.items()})
        adam = torch.optim.Adam(list(self.p.values()) + [self.table], lr=1e-3)
        for step in range(self.steps):
            adam.zero_grad()
            logit = self.forward(training=True)
            loss = torch.nn.functional.binary_cross_entropy_with_logits(logit, self.label)
            loss.backward()
            if step == 0:
                out['logit'], out['loss'] = logit.detach(), loss.detach()
                out['g.table'] = self.table.grad.clone()
                out.update({'g.' + name: p.grad.clone() for name, p in self.p.items()})
            adam.step()
        out['a.table'] = self.table.detach()
        out.update({'a.' + name: p.detach() for name, p in self.p.items()})
        out.update({'s.' + name: s for name, s in self.statistics.items()})
        with torch.no_grad():
            out['scored'] = self.forward(training=False)
        return out


def to_text(out):
    def numbers(x):
        return ' '.join(str(v) if isinstance(v, int) else f'{v:.12g}' for v in x.reshape(-1).tolist())
    return ''.join(f'{name}: {numbers(x)}\n' for name, x in out.items())


def differences(text, golden):
    for line, expected in zip(text.splitlines(), golden.splitlines()):
        (name, numbers), (golden_name, golden_numbers) = line.split(': '), expected.split(': ')
        if name != golden_name:
            yield f'{golden_name}: expected here, found {name}'
            continue
        a, b = ([float(v) for v in part.split()] for part in (numbers, golden_numbers))
        scale = max([1e-9] + [abs(v) for v in b])
        worst = max([abs(x - y) for x, y in zip(a, b)] + [0 if len(a) == len(b) else scale])
        if worst > 1e-7 * scale:
            yield f'{name}: differs by {worst:g}, largest value {scale:g}'
    if len(text.splitlines()) != len(golden.splitlines()):
        yield 'numbers of arrays differ'


def main():
    flags = argparse.ArgumentParser()
    flags.add_argument('--write', metavar='DIR')
    flags.add_argument('--check', metavar='DIR')
    args = flags.parse_args()
    torch.set_num_threads(1)
    failed = False
    for name in CASES:
        text = to_text(Case(name).run())
        path = os.path.join(args.write or args.check, name + '.txt')
        if args.write:
            with open(path, 'w') as file:
                file.write(text)
            continue
        with open(path) as file:
            for difference in differences(text, file.read()):
                print(f'{path}: {difference}')
                failed = True
    sys.exit(1 if failed else 0)


if __name__ == '__main__':
    main()
