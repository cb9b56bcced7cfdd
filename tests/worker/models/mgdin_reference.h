// MGDIN again, in plain loops over one row: what the model's graph is compared with.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

namespace cairn::worker {

using Matrix = std::vector<std::vector<double>>;
using Vector = std::vector<double>;

struct MgdinReference {
  std::map<std::string, Vector> parameters = {};  // by name, row-major
  std::vector<int> sizes = {};                    // of the windows
  int layers = 0, width = 0;
  bool softmax = true, shared_ffn = false, flatten = false, dummies_first = false;
  int head_layers = 0;  // hidden
  // Whether tokens i and j of the branch with windows of `size` interact in layer l, given the
  // branch's initial scores.
  std::function<bool(int size, int l, const Matrix& scores, int i, int j)> active;

  // embeddings: one row's, in the order of the windows, without dummies.
  double Logit(const Matrix& embeddings) const;

 private:
  Matrix Linear(const std::string& name, const Matrix& x) const;
  Matrix PerToken(const std::string& name, const Matrix& x) const;
  Matrix LayerNorm(const std::string& name, const Matrix& x) const;
  Matrix Attention(const Matrix& q, const Matrix& k, const Matrix& v,
                   const std::function<bool(int, int)>& pair) const;
  Matrix Branch(int size, const Matrix& embeddings) const;
};

Matrix Scores(const Matrix& q, const Matrix& k);  // Q K^T

}  // namespace cairn::worker
