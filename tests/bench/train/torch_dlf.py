#!/usr/bin/python3
"""DLF, profile A, in PyTorch: the peer of bench_train, on the batches that it wrote.

Set up as fast as this PyTorch goes on a CPU: OPENBLAS_CORETYPE=SKYLAKEX in the environment (the
run script sets it), as many threads as asked for, denormals flushed, one fused product for the two
compressing matrices. Embeddings: dense table with sparse gradients and SparseAdam, or a table
whose touched rows alone are gathered, made a leaf and updated (--table=rows, the faster one here).

Lines "STEP <seconds> cpu <seconds> loss <mean loss>" go to stdout.
"""
import argparse
import resource
import struct
import time

import numpy as np
import torch
from torch import nn

def kaiming(rows, cols):
    return nn.Parameter(torch.empty(rows, cols).uniform_(-1, 1) * (6.0 / cols) ** 0.5)

def mlp(inputs, hidden, outputs):
    net = nn.Sequential(nn.Linear(inputs, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, outputs))
    for layer in net:
        if isinstance(layer, nn.Linear):
            nn.init.xavier_normal_(layer.weight)
            nn.init.zeros_(layer.bias)
    return net

class Layer(nn.Module):
    def __init__(self, fields, tokens, dim, implicit, block, rank, hidden):
        super().__init__()
        made = implicit + 2 * block
        self.rank, self.block, self.dim = rank, block, dim
        self.project = kaiming(fields, tokens) if fields != tokens else None
        self.compress = nn.Parameter(torch.cat([kaiming(tokens, rank), kaiming(tokens, rank)], 1))
        self.norm_high, self.norm_low = nn.LayerNorm(tokens * rank), nn.LayerNorm(tokens * rank)
        self.high, self.low = (mlp(tokens * rank, hidden, block * dim) for _ in range(2))
        self.implicit = kaiming(tokens, implicit)
        self.residual = kaiming(tokens, made) if tokens != made else None
        self.norm = nn.LayerNorm(dim)

    def forward(self, first, e):
        x0 = first if self.project is None else torch.matmul(self.project.t(), first)
        q = torch.matmul(e.transpose(1, 2), self.compress)  # [batch, dim, 2 rank]
        g_high = torch.bmm(e, q[:, :, :self.rank]).flatten(1)
        g_low = torch.bmm(x0, q[:, :, self.rank:]).flatten(1)
        z_high = self.high(self.norm_high(g_high)).view(-1, self.block, self.dim)
        z_low = self.low(self.norm_low(g_low)).view(-1, self.block, self.dim)
        z = torch.cat([z_high, z_low, torch.matmul(self.implicit.t(), e)], 1)
        return self.norm(z + (e if self.residual is None else torch.matmul(self.residual.t(), e)))

class Dlf(nn.Module):
    def __init__(self, fields, dim, layers=3, implicit=32, block=32, rank=24, hidden=512):
        super().__init__()
        made = implicit + 2 * block
        self.layers = nn.ModuleList(
            Layer(fields, made if l else fields, dim, implicit, block, rank, hidden) for l in range(layers))
        self.head = mlp(made * dim, hidden, 1)

    def forward(self, first):
        e = first
        for layer in self.layers:
            e = layer(first, e)
        return self.head(e.flatten(1)).squeeze(1)

class RowTable:
    """Adam on the rows of the batch alone, each with its own count of updates."""
    def __init__(self, rows, dim):
        self.value = torch.randn(rows, dim) * 1e-4
        self.mean, self.square = torch.zeros(rows, dim), torch.zeros(rows, dim)
        self.count = torch.zeros(rows, 1)

    def lookup(self, ids):
        self.rows, inverse = torch.unique(ids, return_inverse=True)
        self.leaf = self.value[self.rows].requires_grad_()
        return nn.functional.embedding(inverse, self.leaf)

    def step(self):
        g = self.leaf.grad
        count = self.count[self.rows] + 1
        mean = self.mean[self.rows].mul_(0.9).add_(g, alpha=0.1)
        square = self.square[self.rows].mul_(0.999).addcmul_(g, g, value=0.001)
        scale = (1e-3 / (1 - 0.9 ** count))
        self.value[self.rows] -= scale * mean / ((square / (1 - 0.999 ** count)).sqrt_() + 1e-8)
        self.mean[self.rows], self.square[self.rows], self.count[self.rows] = mean, square, count

class SparseTable:
    def __init__(self, rows, dim):
        self.table = nn.Embedding(rows, dim, sparse=True)
        nn.init.normal_(self.table.weight, std=1e-4)
        self.adam = torch.optim.SparseAdam(self.table.parameters(), lr=1e-3)

    def lookup(self, ids):
        return self.table(ids)

    def step(self):
        self.adam.step()
        self.adam.zero_grad(set_to_none=True)

def cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime

def main():
    flags = argparse.ArgumentParser()
    flags.add_argument('--data', required=True)
    flags.add_argument('--threads', type=int, default=2)
    flags.add_argument('--seconds', type=float, default=10)
    flags.add_argument('--dim', type=int, default=16)
    flags.add_argument('--table', choices=['rows', 'sparse'], default='rows')
    args = flags.parse_args()
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    torch.manual_seed(1)

    with open(args.data, 'rb') as file:
        fields, ids, rows, batches = struct.unpack('<4I', file.read(16))
        index = np.fromfile(file, np.uint32, batches * rows * fields).reshape(batches, rows, fields)
        labels = np.fromfile(file, np.float32, batches * rows).reshape(batches, rows)
    index, labels = torch.from_numpy(index.astype(np.int64)), torch.from_numpy(labels)

    model = Dlf(fields, args.dim)
    table = (RowTable if args.table == 'rows' else SparseTable)(ids, args.dim)
    adam = torch.optim.Adam(model.parameters(), lr=1e-3, foreach=True)
    loss_of = nn.BCEWithLogitsLoss()
    step, measured, start = 0, 0, 0.0
    while measured < 3 or time.time() - start < args.seconds:
        wall, cpu = time.time(), cpu_seconds()
        batch = step % batches
        loss = loss_of(model(table.lookup(index[batch])), labels[batch])
        adam.zero_grad(set_to_none=True)
        loss.backward()
        adam.step()
        table.step()
        wall, cpu = time.time() - wall, cpu_seconds() - cpu
        step += 1
        if step == 2:  # warm
            start = time.time()
        if step > 2:
            measured += 1
            print(f'STEP {wall:.6f} cpu {cpu:.6f} loss {loss.item():.6f}', flush=True)
    print(f'parameters {sum(p.numel() for p in model.parameters())}, '
          f'peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB')

if __name__ == '__main__':
    main()
