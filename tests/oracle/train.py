#!/usr/bin/python3
"""Trains the oracle's models as `cairn train` does, in PyTorch (float32), on a job's own csv files.

    train.py --job launch/jobs/dlf_book_crossing_kg.textproto [--seed 1]

prints one line for the test split: RESULT auc=... logloss=... epochs=..., with gauc and pairwise where the job names a
group. Rows of tables have optimizer states of their own, which move when a batch touches them; bias correction counts
the row's own updates. A row that training never made is zero in evaluation. `epochs` counts the passes over the
training split.
"""
import argparse
import collections
import importlib
import os
import sys

import torch

from data import JobData
from nn import Column, Inputs, Net
from schema import Schema


class Optimizer:
    """Of the rows of one tensor [rows, width], each with a count of its own updates; a dense parameter is one row."""

    def __init__(self, config, rows, width):
        self.kind = config.which('kind') or 'adam'
        self.settings = getattr(config, self.kind)
        self.rate = self.settings.learning_rate
        if self.kind == 'adam':
            self.mean, self.square = torch.zeros(rows, width), torch.zeros(rows, width)
            self.updates = torch.zeros(rows)
        elif self.kind == 'adagrad':
            self.square = torch.full((rows, width), self.settings.initial_accumulator)
        elif self.kind != 'sgd':
            sys.exit(f'train.py: no optimizer {self.kind}; it has sgd, adagrad and adam')

    def apply(self, values, rows, gradient):
        """values[rows] -= ..., rows without repetition."""
        s = self.settings
        if self.kind == 'sgd':
            values[rows] -= self.rate * gradient
        elif self.kind == 'adagrad':
            self.square[rows] += gradient ** 2
            values[rows] -= self.rate * gradient / (self.square[rows].sqrt() + s.epsilon)
        else:
            self.updates[rows] += 1
            mean = self.mean[rows] = s.beta1 * self.mean[rows] + (1 - s.beta1) * gradient
            square = self.square[rows] = s.beta2 * self.square[rows] + (1 - s.beta2) * gradient ** 2
            count = self.updates[rows][:, None]
            mean, square = mean / (1 - s.beta1 ** count), square / (1 - s.beta2 ** count)
            values[rows] -= self.rate * mean / (square.sqrt() + s.epsilon)


class TableRows:
    """A table's rows, made as its initializer says, and their optimizer."""

    def __init__(self, table, width, setting, random):
        self.l2, self.all_rows = setting('l2'), setting('l2_rows') == 'ALL'
        initializer = setting('initializer')
        self.values = torch.zeros(len(table.ids), width)
        made = self.values[:table.trained]
        kind = initializer.which('kind') or 'normal'
        if kind == 'normal':
            made.normal_(0, initializer.normal.stddev, generator=random)
        elif kind == 'uniform':
            made.uniform_(-initializer.uniform.bound, initializer.uniform.bound, generator=random)
        self.seen = torch.zeros(len(table.ids), dtype=torch.bool)
        self.optimizer = Optimizer(setting('optimizer'), len(table.ids), width)

    def update(self, rows, gradient):
        self.seen[rows] = True
        if not self.all_rows:
            self.optimizer.apply(self.values, rows, gradient + self.l2 * self.values[rows])
            return
        every = self.l2 * self.values
        every[rows] += gradient
        alive = torch.nonzero(self.seen)[:, 0]
        self.optimizer.apply(self.values, alive, every[alive])


def auc_of(scores, labels):
    """Area under the ROC curve; equal scores count half."""
    _, place, counts = torch.unique(scores, return_inverse=True, return_counts=True)
    upto = counts.cumsum(0).double()
    rank = (upto - (counts.double() - 1) / 2)[place]
    positives = labels.double().sum()
    negatives = len(labels) - positives
    return float((rank[labels > 0.5].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def group_measures(scores, labels, groups):
    """Over the groups with both labels. gauc: their AUC, weighted by their rows; pairwise: the plain mean of their
    shares of pairs (positive, negative) in which the positive scores higher."""
    rows_of = collections.defaultdict(list)
    for row, group in enumerate(groups):
        rows_of[group].append(row)
    auc = rows_seen = pairs = count = 0
    for rows in rows_of.values():
        s, y = scores[rows], labels[rows] > 0.5
        if 0 < y.sum() < len(rows):
            higher, equal = (float(f(s[y][:, None], s[~y]).double().mean()) for f in (torch.gt, torch.eq))
            auc, rows_seen = auc + (higher + equal / 2) * len(rows), rows_seen + len(rows)
            pairs, count = pairs + higher, count + 1
    return {'gauc': auc / rows_seen, 'pairwise': pairs / count} if count else {}


def measures(logits, split):
    logits = logits.double()
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, split.label.double())
    out = {'auc': auc_of(logits, split.label), 'logloss': float(loss)}
    if split.groups is not None:
        out.update(group_measures(logits, split.label, split.groups))
    return out


MONITORS = {
    'AUC': lambda m: m['auc'],
    'LOGLOSS': lambda m: -m['logloss'],
    'AUC_MINUS_LOGLOSS': lambda m: m['auc'] - m['logloss'],
    'GAUC': lambda m: m['gauc'],
    'GAUC_PLUS_AUC': lambda m: m['gauc'] + m['auc'],
}


class Trainer:
    def __init__(self, job, seed):
        self.job, self.data = job, JobData(job)
        self.random = torch.Generator().manual_seed(seed)
        kind = job.model.which('kind')
        self.logit_of, self.config = importlib.import_module('models.' + kind).logit, getattr(job.model, kind)
        self.net = Net(self._make, torch.float32, dropout=self.random)
        widths = {field.table: field.dim for field in self.data.fields if field.table >= 0}
        self.tables = [TableRows(table, widths[t], lambda field, name=table.name: self.data.table_setting(name, field),
                                 self.random) for t, table in enumerate(self.data.tables)]
        self.drawn = {'order': torch.randperm(len(self.data.fields), generator=self.random).tolist()}
        self.dense = {}  # name to Optimizer

    def _make(self, name, shape, init):
        kind, value = init
        x = torch.empty(*shape)
        if kind == 'constant':
            x.fill_(value)
        elif kind == 'normal':
            x.normal_(0, value, generator=self.random)
        else:
            x.uniform_(-value, value, generator=self.random)
        self.dense[name] = Optimizer(self.job.dense.optimizer, 1, x.numel())
        return x.requires_grad_()

    def forward(self, split, rows, training):
        """Logits; and for each table the rows that the batch refers to, with their values as leaves."""
        columns = split.batch(rows)
        leaves, unique = [None] * len(self.tables), [None] * len(self.tables)
        for t, table in enumerate(self.tables):
            using = [c for f, c in zip(self.data.fields, columns) if f.table == t]
            joined = torch.cat([c.index for c in using])
            unique[t], place = torch.unique(joined, return_inverse=True)
            for column, part in zip(using, place.split([len(c.index) for c in using])):
                column.index = part
            leaves[t] = table.values[unique[t]].requires_grad_(training)
        self.net.training = training
        inputs = Inputs(self.data.fields, columns, leaves, self.drawn)
        return self.logit_of(self.config, inputs, self.net), leaves, unique

    def step(self, split, rows):
        logit, leaves, unique = self.forward(split, rows, True)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logit, split.label[rows])
        names = list(self.net.parameters)
        wanted = [self.net.parameters[name] for name in names] + leaves
        gradients = torch.autograd.grad(loss, wanted, allow_unused=True)
        gradients = [torch.zeros_like(x) if g is None else g for x, g in zip(wanted, gradients)]
        clip = self.job.train.clip_norm
        if clip > 0:
            norm = torch.sqrt(sum((g ** 2).sum() for g in gradients))
            gradients = [g * min(1.0, float(clip / norm.clamp(min=1e-30))) for g in gradients]
        with torch.no_grad():
            for name, gradient in zip(names, gradients):
                values = self.net.parameters[name]
                if name in self.net.weights:
                    gradient = gradient + self.job.dense.l2 * values
                self.dense[name].apply(values.view(1, -1), torch.zeros(1, dtype=torch.long), gradient.reshape(1, -1))
            for table, rows_of_batch, gradient in zip(self.tables, unique, gradients[len(names):]):
                table.update(rows_of_batch, gradient)

    def evaluate(self, split):
        with torch.no_grad():
            logits = [self.forward(split, rows, False)[0] for rows in torch.arange(len(split.label)).split(4096)]
        return measures(torch.cat(logits), split)

    def state(self):
        tensors = [*self.net.parameters.values(), *self.net.statistics.values(), *(t.values for t in self.tables)]
        return [x.detach() for x in tensors]

    def epoch(self):
        split = self.data.splits['train']
        count = len(split.label)
        order = torch.randperm(count, generator=self.random) if self.job.data.shuffle else torch.arange(count)
        for rows in order.split(self.job.train.batch_size):
            self.step(split, rows)

    def slow_down(self, rate_share):
        for optimizer in [*self.dense.values(), *(t.optimizer for t in self.tables)]:
            optimizer.rate = rate_share * optimizer.settings.learning_rate

    def run(self, verbose):
        train = self.job.train
        watched = self.data.splits.get('valid')
        best, kept, waited, share = -float('inf'), None, 0, 1.0
        for epoch in range(1, train.epochs + 1):
            self.epoch()
            if watched is None:
                kept = self.state()
                continue
            result = self.evaluate(watched)
            if verbose:
                print(f'epoch {epoch}', *(f'{name}={value:.6f}' for name, value in result.items()), file=sys.stderr)
            if MONITORS[train.monitor](result) > best + train.min_delta:
                best, kept, waited = MONITORS[train.monitor](result), [x.clone() for x in self.state()], 0
                continue
            waited += 1
            share = max(share * train.plateau_factor, train.plateau_floor)
            self.slow_down(share)
            if train.early_stop_patience and waited >= train.early_stop_patience:
                break
        with torch.no_grad():
            for x, value in zip(self.state(), kept):
                x.copy_(value)
        return {**self.evaluate(self.data.splits['test']), 'epochs': epoch}


def main():
    flags = argparse.ArgumentParser()
    flags.add_argument('--job', required=True)
    flags.add_argument('--seed', type=int, default=1)
    flags.add_argument('--verbose', action='store_true')
    args = flags.parse_args()
    os.environ.setdefault('CAIRN_DATA', '../shared/data')
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    with open(args.job, encoding='utf-8') as file:
        job = Schema.load().parse('JobConfig', file.read())
    if job.data.holdout > 0:
        sys.exit('train.py: data.holdout is not supported; name validation files')
    result = Trainer(job, args.seed).run(args.verbose)
    print('RESULT', *(f'{name}={value:.6f}' if isinstance(value, float) else f'{name}={value}'
                      for name, value in result.items()))


if __name__ == '__main__':
    main()
