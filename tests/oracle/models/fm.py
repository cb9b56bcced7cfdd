"""Factorization machine (Rendle 2010), equation 1: w_0 + sum_i w_i x_i + sum_{i<j} <v_i, v_j> x_i x_j.

v: the embeddings; w: first-order weights, which are inputs of width 1.
"""
from nn import pairwise_dots


def first_order(inputs, net, bias=True):
    weights = inputs.linear()
    total = inputs.vectors(net, weights)[:, :, 0].sum(1) if weights else 0
    return total + net.bias('bias', 1) if bias else total


def logit(config, inputs, net):
    v = inputs.vectors(net)
    pairs = pairwise_dots(v).sum(1) if v.shape[1] > 1 else 0
    return first_order(inputs, net) + pairs
