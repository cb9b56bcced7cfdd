// Collects the scores of one evaluation pass and puts them in row order.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "common/base/status.h"

namespace cairn::launch {

// Thread-safety: none; the caller locks.
class ScoreBook {
 public:
  // Scores of the lease whose first row stands at `position`: `logits` are little-endian float32,
  // `labels` one byte (0 or 1) a row, `groups` little-endian uint64 or, in all leases of the pass,
  // empty. InvalidArgument when the lengths or a label are wrong; nothing is taken then.
  Status Add(std::uint64_t position, const std::string& logits, const std::string& labels,
             const std::string& groups = {});

  struct Scores {
    std::vector<float> logits;
    std::vector<std::uint8_t> labels;
    std::vector<std::uint64_t> groups;  // empty without groups
  };
  // All of them in row order; the book is empty afterwards.
  Scores Take();

 private:
  std::map<std::uint64_t, Scores> pieces_;
};

}  // namespace cairn::launch
