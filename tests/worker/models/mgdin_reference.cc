#include "tests/worker/models/mgdin_reference.h"

#include <cmath>

namespace cairn::worker {
namespace {

Matrix Sum(const Matrix& a, const Matrix& b) {
  Matrix c = a;
  for (std::size_t i = 0; i < a.size(); ++i)
    for (std::size_t j = 0; j < a[i].size(); ++j) c[i][j] += b[i][j];
  return c;
}

// x W + b; W row-major from `weight`, [x.size(), outputs].
Vector Product(const Vector& x, const double* weight, const double* bias, std::size_t outputs) {
  Vector y(outputs, 0);
  for (std::size_t o = 0; o < outputs; ++o) {
    for (std::size_t i = 0; i < x.size(); ++i) y[o] += x[i] * weight[i * outputs + o];
    if (bias != nullptr) y[o] += bias[o];
  }
  return y;
}

}  // namespace

Matrix Scores(const Matrix& q, const Matrix& k) {
  Matrix s(q.size(), Vector(k.size(), 0));
  for (std::size_t i = 0; i < q.size(); ++i)
    for (std::size_t j = 0; j < k.size(); ++j)
      for (std::size_t a = 0; a < q[i].size(); ++a) s[i][j] += q[i][a] * k[j][a];
  return s;
}

Matrix MgdinReference::Linear(const std::string& name, const Matrix& x) const {
  const Vector& weight = parameters.at(name + ".weight");
  const auto bias = parameters.find(name + ".bias");
  Matrix y;
  for (const Vector& token : x)
    y.push_back(Product(token, weight.data(),
                        bias == parameters.end() ? nullptr : bias->second.data(),
                        weight.size() / token.size()));
  return y;
}

Matrix MgdinReference::PerToken(const std::string& name, const Matrix& x) const {
  const Vector& weight = parameters.at(name + ".weight");
  const Vector& bias = parameters.at(name + ".bias");
  const std::size_t outputs = bias.size() / x.size();
  Matrix y;
  for (std::size_t t = 0; t < x.size(); ++t)
    y.push_back(Product(x[t], &weight[t * x[t].size() * outputs], &bias[t * outputs], outputs));
  return y;
}

Matrix MgdinReference::LayerNorm(const std::string& name, const Matrix& x) const {
  Matrix y = x;
  for (Vector& token : y) {
    const double n = static_cast<double>(token.size());
    double mean = 0, variance = 0;
    for (double v : token) mean += v / n;
    for (double v : token) variance += (v - mean) * (v - mean) / n;
    for (std::size_t j = 0; j < token.size(); ++j)
      token[j] =
          parameters.at(name + ".gamma")[j] * (token[j] - mean) / std::sqrt(variance + 1e-5) +
          parameters.at(name + ".beta")[j];
  }
  return y;
}

Matrix MgdinReference::Attention(const Matrix& q, const Matrix& k, const Matrix& v,
                                 const std::function<bool(int, int)>& pair) const {
  Matrix weights = Scores(q, k);
  Matrix out(q.size(), Vector(v[0].size(), 0));
  for (std::size_t i = 0; i < q.size(); ++i) {
    double sum = 0;
    for (std::size_t j = 0; j < k.size(); ++j) {
      double& w = weights[i][j];
      w /= std::sqrt(static_cast<double>(q[i].size()));
      if (softmax) w = std::exp(w);
      if (!pair(static_cast<int>(i), static_cast<int>(j))) w = 0;
      sum += w;
    }
    if (softmax && sum == 0) continue;
    for (std::size_t j = 0; j < k.size(); ++j)
      for (std::size_t c = 0; c < v[j].size(); ++c)
        out[i][c] += weights[i][j] / (softmax ? sum : 1) * v[j][c];
  }
  return out;
}

Matrix MgdinReference::Branch(int size, const Matrix& embeddings) const {
  const std::string branch = "branch" + std::to_string(size);
  const std::size_t g = size, dim = embeddings[0].size();
  Matrix padded = embeddings;
  while (padded.size() % g != 0)
    padded.insert(dummies_first ? padded.begin() : padded.end(), Vector(dim, 0));
  Matrix joined(padded.size() / g);
  for (std::size_t f = 0; f < padded.size(); ++f)
    joined[f / g].insert(joined[f / g].end(), padded[f].begin(), padded[f].end());
  Matrix x = Linear(branch + ".project", joined), initial;
  for (int l = 1; l <= layers; ++l) {
    const std::string layer = branch + ".layer" + std::to_string(l);
    const Matrix q = Linear(layer + ".query", x), k = Linear(layer + ".key", x);
    if (l == 1) initial = Scores(q, k);
    const Matrix z = Attention(q, k, Linear(layer + ".value", x),
                               [&](int i, int j) { return active(size, l, initial, i, j); });
    const Matrix y = LayerNorm(layer + ".attention.norm", Sum(z, x));
    const std::string ffn = layer + ".ffn";
    Matrix hidden = shared_ffn ? Linear(ffn + ".0", y) : PerToken(ffn + ".0", y);
    for (Vector& token : hidden)
      for (double& v : token) v *= 0.5 * (1 + std::erf(v / std::sqrt(2.0)));
    const Matrix f = shared_ffn ? Linear(ffn + ".1", hidden) : PerToken(ffn + ".1", hidden);
    x = LayerNorm(ffn + ".norm", Sum(f, y));
  }
  return x;
}

double MgdinReference::Logit(const Matrix& embeddings) const {
  Vector joined;
  for (int size : sizes) {
    const Matrix x = Branch(size, embeddings);
    Vector mean(x[0].size(), 0);
    for (const Vector& token : x)
      for (std::size_t j = 0; j < token.size(); ++j)
        flatten ? joined.push_back(token[j]) : void(mean[j] += token[j] / double(x.size()));
    if (!flatten) joined.insert(joined.end(), mean.begin(), mean.end());
  }
  Matrix y = {joined};
  for (int i = 0; i < head_layers; ++i) {
    y = Linear("head." + std::to_string(i), y);
    for (double& v : y[0]) v = std::max(v, 0.0);
  }
  return Linear("head." + std::to_string(head_layers), y)[0][0];
}

}  // namespace cairn::worker
