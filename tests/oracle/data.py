"""A job's csv files as tensors: fields, columns and labels of each split, as docs/data.md and proto/config.proto say.

Every table's rows are numbered in the order in which the training split shows their values; values that only the other
splits hold come after those, so that a table's first `trained` rows are the ones that training makes.
"""
import collections
import csv
import glob
import gzip
import math
import os
import re

import torch

from nn import Column, Field

MISSING = ''  # the key of a missing category, bucket or element
RARE = ('rare',)  # the key that values below min_count share


def expand_files(patterns):
    found = []
    for pattern in patterns:
        found += glob.glob(os.path.expandvars(pattern))
    return sorted(found)


def read_rows(path, config):
    opened = gzip.open if open(path, 'rb').read(2) == b'\x1f\x8b' else open
    with opened(path, 'rt', encoding='utf-8', newline='') as file:
        reader = csv.reader(file, delimiter=config.delimiter)
        header = next(reader) if config.header else config.column
        return header, [row for row in reader if row]


def read_split(data, patterns):
    """Column name to list of texts."""
    columns = collections.defaultdict(list)
    for path in expand_files(patterns):
        header, rows = read_rows(path, data.csv)
        for name, values in zip(header, zip(*rows)):
            columns[name] += values
    for join in data.join:
        header, rows = read_rows(os.path.expandvars(join.file), data.csv)
        key = header.index(join.key)
        by_key = {row[key]: row for row in rows}
        on = columns[join.on or join.key]
        empty = [''] * len(header)
        for i, name in enumerate(header):
            if i != key:
                columns[name] = [by_key.get(value, empty)[i] for value in on]
    return dict(columns)


def expand_features(job):
    """Pairs of name and settings: "C{1..26}" stands for 26 features."""
    for feature in job.feature:
        match = re.fullmatch(r'(.*)\{(\d+)\.\.(\d+)\}(.*)', feature.name)
        if match is None:
            yield feature.name, feature
        else:
            for i in range(int(match[2]), int(match[3]) + 1):
                yield f'{match[1]}{i}{match[4]}', feature


class Feature:
    """One input of the job: what it makes of a row's texts."""

    def __init__(self, name, config):
        self.name, self.config = name, config
        self.column = name if config.name != name and config.column == '' else config.column or name
        self.table = config.table or name
        self.is_sequence = config.type == 'SEQUENCE'
        self.is_number = config.type == 'NUMERIC' and config.numeric.bucket_width == 0
        self.is_history = self.is_sequence and config.sequence.pooling == 'HISTORY'

    def number(self, text, until):
        """After transform and scaling; None if missing."""
        numeric = self.config.numeric
        if text == '' or text in self.config.missing or until == '':
            return None
        x = float(text) if until is None else float(until) - float(text)
        if numeric.transform != 'NONE':
            log = math.log1p(abs(x)) / (1 if numeric.transform == 'LOG1P' else math.log(2))
            x = math.copysign(log, x)
        return (x - numeric.mean) / numeric.stddev

    def key(self, text, until):
        if self.config.numeric.bucket_width > 0:
            x = self.number(text, until)
            return MISSING if x is None else 'bucket %d' % math.floor(x / self.config.numeric.bucket_width)
        return MISSING if text in self.config.missing else text

    def values(self, columns, rows):
        """Of each row: a number, a key, or a list of keys."""
        if self.config.type == 'CROSS':
            return list(zip(*(columns.feature(name) for name in self.config.of)))
        texts = columns.text[self.column]
        untils = columns.text[self.config.numeric.until] if self.config.numeric.until else [None] * rows
        if self.is_number:
            missing = self.config.numeric.missing_value
            numbers = (self.number(text, until) for text, until in zip(texts, untils))
            return [missing if x is None else x for x in numbers]
        if not self.is_sequence:
            return [self.key(text, until) for text, until in zip(texts, untils)]
        sequence = self.config.sequence
        out = []
        for text, until in zip(texts, untils):
            parts = text.split(sequence.separator) if text and text not in self.config.missing else []
            out.append([self.key(part, until) for part in parts[-sequence.max_length or None:]])
        return out


class SplitTexts:
    def __init__(self, text, features):
        self.text, self._features = text, {f.name: f for f in features}
        self.rows = len(next(iter(text.values()))) if text else 0

    def feature(self, name):
        return self._features[name].values(self, self.rows)


class Table:
    def __init__(self, name):
        self.name, self.ids, self.trained = name, {}, 0

    def id_of(self, key):
        return self.ids.setdefault(key, len(self.ids))


def flat(values):
    return [key for row in values for key in row] if values and isinstance(values[0], list) else values


def density_of(keys, rows):
    """ln(rows / effective values), effective values = exp(entropy of the value distribution)."""
    counts = collections.Counter(keys)
    return math.log(rows) + sum(c / len(keys) * math.log(c / len(keys)) for c in counts.values())


class Split:
    def __init__(self, columns, label, groups):
        self.columns, self.label, self.groups = columns, label, groups

    def batch(self, rows):
        """The columns of the rows, as Inputs take them."""
        out = []
        for column in self.columns:
            if column.offsets is None:
                out.append(Column(index=None if column.index is None else column.index[rows],
                                  number=None if column.number is None else column.number[rows]))
                continue
            starts = column.offsets[rows]
            lengths = column.offsets[rows + 1] - starts
            offsets = torch.cat([torch.zeros(1, dtype=torch.long), lengths.cumsum(0)])
            where = torch.repeat_interleave(starts - offsets[:-1], lengths) + torch.arange(int(offsets[-1]))
            out.append(Column(index=column.index[where], offsets=offsets))
        return out


class JobData:
    """fields, tables (rows to hold), and the splits 'train', 'valid' and 'test' that the job names."""

    def __init__(self, job):
        self.job = job
        self.features = [Feature(name, config) for name, config in expand_features(job)]
        self.features += self._first_order()
        texts = {name: SplitTexts(read_split(job.data, getattr(job.data, name)), self.features)
                 for name in ('train', 'valid', 'test') if getattr(job.data, name)}
        self.tables, self._by_name = [], {}
        self._linear_tables = {f.table for f in self.features if self.is_linear(f)}
        self._counts = collections.defaultdict(collections.Counter)  # of the training split's keys, by table
        self.fields = [self._field(feature) for feature in self.features]
        for field, feature in zip(self.fields, self.features):
            target = feature.config.sequence.target
            field.target = [f.name for f in self.features].index(target) if target else -1
        self.splits = {}
        for name in texts:  # 'train' is the first one
            self.splits[name] = self._split(name, texts[name])
            if name == 'train':
                for table in self.tables:
                    table.trained = len(table.ids)

    def _first_order(self):
        kind = self.job.model.which('kind')
        if not (kind in ('fm', 'deepfm') or (kind == 'autoint' and self.job.model.autoint.linear)):
            return []
        weights = []
        for feature in self.features:
            if feature.config.role == 'INPUT' and not feature.is_history:
                weight = Feature(feature.name, feature.config)
                weight.column, weight.table, weight.linear = feature.column, feature.table + '.linear', True
                weight.name = feature.name + '.linear'
                weights.append(weight)
        return weights

    def is_linear(self, feature):
        return getattr(feature, 'linear', False) or feature.config.role == 'LINEAR'

    def table_setting(self, name, field):
        """Of the table's own entry; else of the defaults of its kind."""
        layers = [t for t in self.job.table if t.name == name]
        if name in self._linear_tables:
            layers.append(self.job.linear_defaults)
        return next((getattr(t, field) for t in layers if t.has(field)), getattr(self.job.table_defaults, field))

    def _numeric_dim(self):
        """Of the vectors of numbers: that of the tables, if they have one."""
        dims = {self.table_setting(f.table, 'dim') for f in self.features if not f.is_number and not self.is_linear(f)}
        return dims.pop() if len(dims) == 1 else self.job.table_defaults.dim

    def _field(self, feature):
        linear = self.is_linear(feature)
        if feature.is_number:
            dim = 1 if linear else self._numeric_dim()
            return Field(feature.name, 'numeric', -1, dim, linear=linear, density=0.0,
                         stddev=feature.config.numeric.vector_stddev)
        if feature.table not in self._by_name:
            self._by_name[feature.table] = len(self.tables)
            self.tables.append(Table(feature.table))
        table = self._by_name[feature.table]
        dim = 1 if linear else self.table_setting(feature.table, 'dim')
        sequence = feature.config.sequence
        return Field(feature.name, 'sequence' if feature.is_sequence else 'categorical', table, dim,
                     sequence.pooling.lower(), sequence.max_length, linear=linear)

    def _split(self, name, texts):
        columns = []
        all_values = [feature.values(texts, texts.rows) for feature in self.features]
        if name == 'train':
            for field, feature, values in zip(self.fields, self.features, all_values):
                if feature.config.min_count > 1 and not feature.is_number:
                    self._counts[field.table].update(flat(values))
        for field, feature, values in zip(self.fields, self.features, all_values):
            if feature.is_number:
                field.density = math.log(texts.rows) if name == 'train' else field.density
                columns.append(Column(number=torch.tensor(values, dtype=torch.float32)))
                continue
            keys = flat(values)
            if feature.config.min_count > 1:
                counts = self._counts[field.table]
                keys = [key if key == MISSING or counts[key] >= feature.config.min_count else RARE for key in keys]
            if name == 'train':
                has_density = feature.config.has('density')
                field.density = feature.config.density if has_density else density_of(keys, texts.rows)
            table = self.tables[field.table]
            index = torch.tensor([table.id_of(key) for key in keys], dtype=torch.long)
            offsets = None
            if feature.is_sequence:
                lengths = torch.tensor([len(row) for row in values], dtype=torch.long)
                offsets = torch.cat([torch.zeros(1, dtype=torch.long), lengths.cumsum(0)])
            columns.append(Column(index=index, offsets=offsets))
        label = torch.tensor([float(x) for x in texts.text[self.job.data.label]])
        return Split(columns, label, texts.text.get(self.job.data.group))
