"""What the models are written with: named parameters, the inputs of a batch, and the usual layers.

Shapes: B rows of the batch first; a linear map is x W + b with W [inputs, outputs].
"""
import math

import torch

EPSILON = 1e-5  # of LayerNorm and BatchNorm, inside the square root
MOMENTUM = 0.1  # of BatchNorm's running statistics


class Field:
    """One input. kind: 'categorical', 'numeric' or 'sequence'; pooling: 'mean', 'sum' or 'history' (of a sequence)."""

    def __init__(self, name, kind='categorical', table=-1, dim=0, pooling='mean', max_length=0, target=-1, linear=False,
                 density=None, stddev=0.0):
        self.name, self.kind, self.table, self.dim, self.pooling = name, kind, table, dim, pooling
        self.max_length, self.target, self.linear = max_length, target, linear
        self.density, self.stddev = density, stddev

    @property
    def is_history(self):
        return self.kind == 'sequence' and self.pooling == 'history'


class Column:
    """A field's values. categorical: index [B]; sequence: index [values] and offsets [B + 1]; numeric: number [B]."""

    def __init__(self, index=None, offsets=None, number=None):
        self.index, self.offsets, self.number = index, offsets, number

    def segments(self):
        """Of each value: its row and its position in the row; and each row's length."""
        lengths = self.offsets[1:] - self.offsets[:-1]
        row = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
        return row, torch.arange(len(self.index)) - self.offsets[:-1][row], lengths


class Inputs:
    """A batch under a job's fields: fields[i] has the values columns[i] and reads tables[fields[i].table]."""

    def __init__(self, fields, columns, tables, drawn=None):
        self.fields, self.columns, self.tables = fields, columns, tables
        self.drawn = drawn or {}  # what a model draws from the job's seed

    def plain(self):
        """Fields of the model proper that are one vector: no first-order weights, no histories."""
        return [f for f in self.fields if not f.linear and not f.is_history]

    def histories(self):
        return [f for f in self.fields if f.is_history]

    def linear(self):
        return [f for f in self.fields if f.linear]

    def column(self, field):
        return self.columns[self.fields.index(field)]

    def vector(self, net, field):
        """[B, dim]; of a numeric field: number times its learned vector."""
        column = self.column(field)
        if field.kind == 'numeric':
            stddev = field.stddev or (0 if field.dim == 1 else math.sqrt(2 / (1 + field.dim)))
            learned = net.parameter('numeric.' + field.name, field.dim, init=('normal', stddev))
            return column.number[:, None] * learned
        values = self.tables[field.table][column.index]
        if field.kind == 'categorical':
            return values
        row, _, lengths = column.segments()
        total = torch.zeros(len(lengths), field.dim, dtype=values.dtype).index_add(0, row, values)
        return total / lengths.clamp(min=1)[:, None] if field.pooling == 'mean' else total

    def vectors(self, net, fields=None):
        """[B, fields, dim], of all plain fields unless some are named."""
        return torch.stack([self.vector(net, f) for f in (self.plain() if fields is None else fields)], 1)

    def _kept(self, field):
        # The last max_length values, moved to the end: value k of n stands at T - n + k.
        row, position, lengths = self.column(field).segments()
        slot = field.max_length - lengths[row] + position
        keep = slot >= 0
        return keep, row[keep], slot[keep], len(lengths)

    def history(self, field):
        """[B, max_length, dim], the oldest first, zeros in front."""
        keep, row, slot, rows = self._kept(field)
        values = self.tables[field.table][self.column(field).index[keep]]
        out = torch.zeros(rows, field.max_length, field.dim, dtype=values.dtype)
        return out.index_put((row, slot), values)

    def mask(self, histories):
        """[B, max_length]: whether any of the histories has a value there."""
        mask = None
        for field in histories:
            _, row, slot, rows = self._kept(field)
            one = torch.zeros(rows, field.max_length, dtype=torch.bool)
            one[row, slot] = True
            mask = one if mask is None else mask | one
        return mask


class Net:
    """Parameters, made by `make(name, shape, init)` when they are first asked for; and the layers that have some.

    init: ('constant', value), ('normal', stddev) or ('uniform', bound).
    """

    def __init__(self, make, dtype=torch.float64, dropout=None):
        self.make, self.dtype = make, dtype
        self.parameters, self.statistics, self.weights = {}, {}, set()
        self.training = True
        self.random = dropout  # a torch.Generator, or None: no dropout

    def parameter(self, name, *shape, init, is_weight=True):
        if name not in self.parameters:
            self.parameters[name] = self.make(name, shape, init)
            if is_weight:
                self.weights.add(name)
        assert tuple(self.parameters[name].shape) == shape, name
        return self.parameters[name]

    def matrix(self, name, rows, columns):
        """Xavier normal."""
        return self.parameter(name, rows, columns, init=('normal', math.sqrt(2 / (rows + columns))))

    def bias(self, name, *shape):
        return self.parameter(name, *shape, init=('constant', 0.0), is_weight=False)

    def linear(self, name, x, outputs, bias=True):
        y = x @ self.matrix(name + '.weight', x.shape[-1], outputs)
        return y + self.bias(name + '.bias', outputs) if bias else y

    def per_token_linear(self, name, x, outputs):
        tokens, inputs = x.shape[1:]
        stddev = math.sqrt(2 / (inputs + outputs))
        weight = self.parameter(name + '.weight', tokens, inputs, outputs, init=('normal', stddev))
        return torch.einsum('bti,tio->bto', x, weight) + self.bias(name + '.bias', tokens, outputs)

    def mix_tokens(self, name, x, outputs, kaiming=True):
        """W^T x: [B, tokens, d] to [B, outputs, d]."""
        tokens = x.shape[1]
        init = ('uniform', math.sqrt(6 / outputs)) if kaiming else ('normal', math.sqrt(2 / (tokens + outputs)))
        return torch.einsum('nm,bnd->bmd', self.parameter(name, tokens, outputs, init=init), x)

    def layer_norm(self, name, x):
        centred = x - x.mean(-1, keepdim=True)
        normal = centred / torch.sqrt((centred ** 2).mean(-1, keepdim=True) + EPSILON)
        return normal * self._gamma(name, x.shape[-1]) + self.bias(name + '.beta', x.shape[-1])

    def _gamma(self, name, size):
        return self.parameter(name + '.gamma', size, init=('constant', 1.0), is_weight=False)

    def normalize(self, name, x):
        """BatchNorm without gamma and beta; statistics of the last dimension's features over everything else."""
        size = x.shape[-1]
        mean = self.statistics.setdefault(name + '.running_mean', torch.zeros(size, dtype=self.dtype))
        variance = self.statistics.setdefault(name + '.running_variance', torch.ones(size, dtype=self.dtype))
        if self.training:
            flat = x.reshape(-1, size)
            n = flat.shape[0]
            batch_mean = flat.mean(0)
            batch_variance = ((flat - batch_mean) ** 2).mean(0)
            with torch.no_grad():
                mean += MOMENTUM * (batch_mean - mean)
                variance += MOMENTUM * (batch_variance * n / max(n - 1, 1) - variance)
            mean, variance = batch_mean, batch_variance
        return (x - mean) / torch.sqrt(variance + EPSILON)

    def batch_norm(self, name, x):
        return self.normalize(name, x) * self._gamma(name, x.shape[-1]) + self.bias(name + '.beta', x.shape[-1])

    def activate(self, name, x, activation):
        if activation == 'DICE':
            p = torch.sigmoid(self.normalize(name + '.norm', x))
            return x * (p + self.bias(name + '.alpha', x.shape[-1]) * (1 - p))
        return {'RELU': relu, 'SWISH': swish, 'GELU': gelu, 'SIGMOID': torch.sigmoid}[activation](x)

    def dropout(self, x, rate):
        if not self.training or rate == 0 or self.random is None:
            return x
        return x * (torch.rand(x.shape, generator=self.random) >= rate).to(x.dtype) / (1 - rate)

    def mlp(self, name, x, hidden, outputs=1, activation='RELU', batch_norm=False, dropout=0.0):
        """Linear, BatchNorm, activation, dropout for each hidden width; then, unless outputs is 0, a Linear.
        The features are x's last dimension."""
        for i, width in enumerate(hidden):
            x = self.linear(f'{name}.{i}', x, width)
            if batch_norm:
                x = self.batch_norm(f'{name}.{i}.norm', x)
            x = self.dropout(self.activate(f'{name}.{i}.dice', x, activation), dropout)
        return self.linear(f'{name}.{len(hidden)}', x, outputs) if outputs else x

    def mlp_of(self, name, x, config, hidden, outputs=1, **defaults):
        """`mlp` of a job's MlpConfig; without hidden layers in it `hidden`, and `defaults` of its unset fields."""
        def value(field):
            use_default = field in defaults and not config.hidden and not config.has(field)
            return defaults[field] if use_default else getattr(config, field)
        return self.mlp(name, x, config.hidden or hidden, outputs, value('activation'), value('batch_norm'),
                        value('dropout'))

    def multi_head(self, name, query, memory, heads, bias=True, output=True, rotary=False, scale=None, keys=None,
                   width=None):
        """Multi-head attention (Vaswani et al. 2017). query [B, n, d], memory [B, m, d'], active keys [B, m]."""
        width = width or query.shape[-1]
        q = self.linear(name + '.query', query, width, bias)
        k = self.linear(name + '.key', memory, width, bias)
        v = self.linear(name + '.value', memory, width, bias)
        if rotary:
            q, k = rotate(q, heads), rotate(k, heads)
        o = attention(q, k, v, heads, scale, None if keys is None else keys[:, None, :])
        return self.linear(name + '.output', o, width, bias) if output else o


def relu(x):
    return torch.clamp(x, min=0)


def swish(x):
    return x * torch.sigmoid(x)


def gelu(x):
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def masked_softmax(scores, mask):
    """Over the last dimension; zeros where nothing is active."""
    if mask is None:
        return torch.softmax(scores, -1)
    top = torch.where(mask, scores, torch.full_like(scores, -math.inf)).amax(-1, keepdim=True)
    top = torch.where(torch.isfinite(top), top, torch.zeros_like(top)).detach()
    zeros = torch.zeros_like(scores)
    e = torch.where(mask, torch.exp(torch.where(mask, scores - top, zeros)), zeros)
    return e / e.sum(-1, keepdim=True).clamp(min=1e-300 if scores.dtype == torch.float64 else 1e-30)


def attention(q, k, v, heads=1, scale=None, mask=None, softmax=True):
    """q [B, n, d], k [B, m, d], v [B, m, e]; mask broadcasts to [B, n, m]. scale: 1 / sqrt(d / heads) unless given."""
    def split(x):
        return x.reshape(x.shape[0], x.shape[1], heads, -1).transpose(1, 2)
    scores = (split(q) @ split(k).transpose(-1, -2)) * (scale or 1 / math.sqrt(q.shape[-1] // heads))
    mask = None if mask is None else mask.expand(q.shape[0], q.shape[1], k.shape[1])[:, None].expand_as(scores)
    if softmax:
        weights = masked_softmax(scores, mask)
    else:
        weights = scores if mask is None else scores * mask
    o = weights @ split(v)
    return o.transpose(1, 2).reshape(q.shape[0], q.shape[1], -1)


def rotate(x, heads, base=10000.0):
    """Rotary position embedding (Su et al. 2021), pairs of neighbouring columns, position = row."""
    rows, tokens, d = x.shape
    width = d // heads
    pair = torch.arange(width // 2, dtype=torch.float64)
    angle = torch.arange(tokens, dtype=torch.float64)[:, None] * base ** (-2 * pair / width)
    cos, sin = (f(angle).to(x.dtype)[:, None, :] for f in (torch.cos, torch.sin))
    x = x.reshape(rows, tokens, heads, width // 2, 2)
    a, b = x[..., 0], x[..., 1]
    return torch.stack([a * cos - b * sin, a * sin + b * cos], -1).reshape(rows, tokens, d)


def ranks(scores):
    """Of each value its place among all of its row of the batch, the largest first, then the lower row-major index."""
    flat = scores.detach().reshape(scores.shape[0], -1)
    order = torch.argsort(flat, dim=1, descending=True, stable=True)
    rank = torch.empty_like(order)
    rank.scatter_(1, order, torch.arange(flat.shape[1]).expand_as(order))
    return rank.reshape(scores.shape)


def pairwise_dots(z):
    """<z_i, z_j> for i < j, row by row. z [B, m, d]."""
    m = z.shape[1]
    i, j = torch.triu_indices(m, m, 1)
    return (z @ z.transpose(1, 2))[:, i, j]
