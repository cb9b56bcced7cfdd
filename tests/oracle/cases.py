"""The cases: every model with every option of its message in proto/config.proto.

A case is small (19 to 40 rows, not a multiple of 16) and has every id of a table in its batch at least once where it can.
"""
from nn import Field

D = 4  # width of the embeddings


class Case:
    # drawn: what the model draws from the job's seed. scale: of the initial weights.
    def __init__(self, name, model, fields, tables, rows=21, drawn=None, scale=1.0):
        self.scale = scale
        self.name, self.model, self.fields, self.tables, self.rows, self.drawn = name, model, fields, tables, rows, drawn


def categorical(name, table, dim=D, density=None):
    return Field(name, 'categorical', table, dim, density=density)


def numeric(name, dim=D, density=None):
    return Field(name, 'numeric', -1, dim, density=density)


def pooled(name, table, pooling='mean', dim=D, density=None):
    return Field(name, 'sequence', table, dim, pooling, density=density)


def history(name, table, length, target=-1, dim=D):
    return Field(name, 'sequence', table, dim, 'history', max_length=length, target=target)


def weight(name, kind='categorical', table=-1, pooling='mean'):
    return Field(name, kind, table, 1, pooling, linear=True)


# [ids, width] of the tables; two fields share the first one.
STATIC_TABLES = [(9, D), (5, D), (7, D)]


def static(count=6, dim=D):
    """Up to seven fields of all kinds, not in the order of their densities."""
    fields = [categorical('a', 0, dim, 1.5), categorical('b', 0, dim, 4.25), pooled('tags', 1, 'mean', dim, 2.0),
              numeric('price', dim, 6.0), categorical('c', 1, dim, 0.5), pooled('words', 2, 'sum', dim, 2.0),
              categorical('d', 2, dim, 3.0)]
    return fields[:count]


def tables_of(count, dim=D):
    return [(ids, dim) for ids, _ in (STATIC_TABLES[:2] if count <= 5 else STATIC_TABLES)]


def static_case(name, model, fields=5, rows=21, dim=D, drawn=None):
    return Case(name, model, static(fields, dim), tables_of(fields, dim), rows, drawn)


def with_weights(name, model, rows=23):
    """Fields with first-order weights: tables of two widths."""
    fields = static(5) + [weight('a.linear', table=2), weight('b.linear', table=2),
                          weight('tags.linear', 'sequence', 3), weight('price.linear', 'numeric'),
                          weight('c.linear', table=3)]
    return Case(name, model, fields, tables_of(5) + [(9, 1), (5, 1)], rows)


def lr_cases():
    fields = [categorical('a', 0, 1), categorical('b', 1, 1), pooled('tags', 1, 'mean', 1), pooled('words', 2, 'sum', 1),
              numeric('price', 1)]
    yield Case('lr', 'lr {}', fields, [(9, 1), (5, 1), (7, 1)], 37)


def baseline_cases():
    yield from lr_cases()
    yield with_weights('fm', 'fm {}')
    yield with_weights('deepfm', 'deepfm { mlp { hidden: 7 hidden: 5 } }', 37)
    yield with_weights('deepfm_swish_norm', 'deepfm { mlp { hidden: 6 activation: SWISH batch_norm: true } }')
    yield with_weights('deepfm_gelu', 'deepfm { mlp { hidden: 6 activation: GELU } }')
    yield with_weights('deepfm_dice', 'deepfm { mlp { hidden: 6 activation: DICE } }', 29)
    mlp = 'mlp { hidden: 6 hidden: 5 }'
    yield static_case('dcnv2', 'dcnv2 { cross_layers: 2 %s }' % mlp, 4)
    yield static_case('dcnv2_stacked', 'dcnv2 { cross_layers: 1 structure: STACKED %s }' % mlp, 4, 37)
    yield static_case('dcnv2_cross_only', 'dcnv2 { structure: CROSS_ONLY }', 3, 19)
    yield static_case('dcnv2_low_rank', 'dcnv2 { cross_layers: 3 low_rank: 3 mlp { hidden: 6 batch_norm: true } }', 5)
    yield static_case('autoint', 'autoint { layers: 2 width: 6 }', 5)
    yield static_case('autoint_scaled', 'autoint { layers: 2 heads: 3 width: 6 scale: true }', 5, 37)
    yield static_case('autoint_plain', 'autoint { layers: 2 heads: 1 width: 5 residual: false }', 4)
    yield with_weights('autoint_plus', 'autoint { layers: 1 width: 6 linear: true mlp { hidden: 6 activation: SIGMOID } }')
    two = 'mlp1 { hidden: 7 hidden: 6 } mlp2 { hidden: 4 batch_norm: true }'
    yield static_case('finalmlp', 'finalmlp { %s gate { hidden: 5 } }' % two, 4)
    yield static_case('finalmlp_no_gate', 'finalmlp { %s gating: false heads: 1 }' % two, 4, 37)
    items = [categorical('user', 2), categorical('item', 0), categorical('brand', 1), history('items', 0, 5, 1),
             history('brands', 1, 5, 2), numeric('price')]
    mlps = 'attention { hidden: 5 activation: SIGMOID } mlp { hidden: 6 activation: DICE batch_norm: true }'
    yield Case('din', 'din { %s }' % mlps, items, STATIC_TABLES, 21)
    yield Case('din_softmax', 'din { softmax: true %s }' % mlps, items, STATIC_TABLES, 37)
    yield Case('din_dice', 'din { attention { hidden: 5 activation: DICE } mlp { hidden: 6 } }',
               items, STATIC_TABLES, 23)
    yield Case('din_no_target', 'din { %s }' % mlps, items[:3] + [pooled('tags', 1), history('items', 0, 4)], STATIC_TABLES, 19)


def dlf_cases():
    base = 'implicit_tokens: 3 block_tokens: 2 rank: 3 hidden: 5 head_hidden: 5'

    def case(name, options, fields=5, rows=21, layers=2):
        return static_case('dlf_' + name, 'dlf { layers: %d %s %s }' % (layers, base, options), fields, rows)
    yield case('project', '', 6, 21, 3)
    yield case('square', '', 7, 37)
    yield case('paper', 'profile: P', 5, 23)
    yield case('paper_one_layer', 'profile: P heads: 4', 6, 37, 1)
    yield case('sigmoid_gate', 'residual: SIGMOID_GATE')
    yield case('floor_gate', 'residual: FLOOR_GATE')
    yield case('no_residual', 'residual: NONE')
    yield case('attention_fusion', 'fusion: ATTENTION heads: 1')
    yield case('paper_joined', 'profile: P fusion: JOIN residual: PLAIN')
    yield case('attention_stream', 'attention_tokens: 2')
    yield case('attention_stream_fused', 'attention_tokens: 3 profile: P', layers=1)
    yield case('self_gate', 'fusion: SELF_GATE')
    yield case('self_gate_attention', 'fusion: SELF_GATE attention_tokens: 2 residual: FLOOR_GATE')
    yield case('no_high', 'high_rank_block: false')
    yield case('no_low', 'low_rank_block: false')
    yield case('no_implicit', 'implicit_block: false')
    yield case('no_norm', 'batch_norm: false')
    drawn = 'dlf { layers: 2 rli_output: DRAWN head_hidden: 5 %s }'
    yield static_case('dlf_drawn', drawn % '', 3)
    yield static_case('dlf_drawn_paper', drawn % 'profile: P', 4)


def mgdin_cases():
    base = 'width: 6 attention_width: 5 ffn_factor: 2 head { hidden: 5 }'

    def case(name, options, granularity=(1, 2), fields=5, rows=21, layers=3, drawn=None):
        sizes = ' '.join(f'granularity: {g}' for g in granularity)
        model = 'mgdin { layers: %d %s %s %s }' % (layers, sizes, base, options)
        return static_case('mgdin' + name, model, fields, rows, drawn=drawn)
    yield case('', 'shared_ffn: true')
    yield case('_per_token', '', (2,), layers=2)
    yield case('_three_granularities', 'shared_ffn: true', (1, 2, 4), 7, 19, 1)
    yield case('_group', 'shared_ffn: true schedule: GROUP', (1, 2), 7)
    yield case('_group_file', 'shared_ffn: true schedule: GROUP order: FILE', (2,), 7, 37)
    yield case('_all', 'shared_ffn: true schedule: ALL', layers=2)
    yield case('_reversed', 'shared_ffn: true schedule: PAIR_REVERSED', layers=2)
    yield case('_density_reversed', 'shared_ffn: true order: DENSITY_REVERSED', (2, 3), 7, layers=1)
    yield case('_linear', 'shared_ffn: true attention: LINEAR', layers=2)
    yield case('_diagonal', 'shared_ffn: true force_diagonal: true', layers=2)
    yield case('_flatten', 'shared_ffn: true pooling: FLATTEN', layers=1)
    yield case('_head', 'shared_ffn: true', layers=1)

    # Five fields of two ids: most initial scores are equal to others, and the order of ties decides.
    tied = [categorical(name, 0, D, density) for name, density in zip('abcde', (3.0, 3.0, 1.0, 2.0, 3.0))]
    yield Case('mgdin_ties', 'mgdin { layers: 3 granularity: 1 %s shared_ffn: true pooling: FLATTEN }' % base, tied, [(2, D)], 37)
    yield Case('mgdin_ties_reversed', 'mgdin { layers: 3 granularity: 1 %s shared_ffn: true pooling: FLATTEN schedule: PAIR_REVERSED }' % base,
               tied, [(2, D)], 37)
    # What the job's seed draws is data of the case, not mathematics: seed 7, as common/math/rng.h makes it.
    yield case('_random_order', 'shared_ffn: true order: RANDOM', (2,), drawn={'order': [3, 4, 0, 1, 2]}, layers=1)
    pairs = {'pairs.1': [4, 24, 23, 5, 6, 2, 21, 11, 7, 0, 19, 9, 1, 13, 10, 20, 22, 8, 12, 18, 15, 14, 3, 17, 16],
             'pairs.2': [7, 0, 5, 3, 8, 1, 4, 6, 2]}
    yield case('_random_pairs', 'shared_ffn: true schedule: PAIR_RANDOM', (1, 2), drawn=pairs, layers=2)


def interformer_cases():
    base = 'heads: 2 summary_tokens: 2'
    fields = [categorical('item', 0), categorical('user', 2), history('items', 0, 5, 0), numeric('price'),
              numeric('age'), history('brands', 1, 5)]

    def case(name, options, layers=1, rows=21, inputs=fields, pma=1, recent=1, scale=1.0):
        model = ('interformer { layers: %d %s pma_tokens: %d recent_tokens: %d %s head { hidden: 5 activation: SWISH } }'
                 % (layers, base, pma, recent, options))
        return Case('interformer' + name, model, inputs, STATIC_TABLES, rows, scale=scale)
    yield case('', '')
    yield case('_two_layers', '', 2, 19, [fields[0], history('items', 0, 5, 0)])
    yield case('_one_history', '', 1, 37, fields[:3])
    yield case('_no_pma', '', pma=0, recent=2)
    yield case('_no_recent', '', pma=2, recent=0)
    # With small weights this gate is 1/2 but for little, which the LayerNorms take away again: all cancels.
    yield case('_gate_literal', 'gate: LITERAL', scale=2.0)
    yield case('_gate_open', 'gate: OPEN', 2, 23, fields[:3])
    yield case('_hyper', 'pffn: HYPER')
    yield case('_no_pffn', 'pffn: NO_PFFN')
    yield case('_no_attention', 'attention: false')
    yield case('_dot', 'backbone: DOT')
    yield case('_dcn', 'backbone: DCN cross_rank: 3')
    yield case('_concat', 'ensemble: CONCAT', 1, 21, fields[:3])
    yield case('_n2s', 'flow: N2S', 2, 21, fields[:4])
    yield case('_s2n', 'flow: S2N', 1)
    yield case('_sep', 'flow: SEP', 2, 21, fields[:4])
    yield case('_sole', 'flow: SOLE', 2)


def all_cases():
    cases = [*baseline_cases(), *dlf_cases(), *mgdin_cases(), *interformer_cases()]
    assert len({case.name for case in cases}) == len(cases)
    return cases
