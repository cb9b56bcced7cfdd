#include "launch/coordinator/score_book.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

namespace cairn::launch {

static_assert(std::endian::native == std::endian::little, "logits travel as they lie in memory");

Status ScoreBook::Add(std::uint64_t position, const std::string& logits, const std::string& labels,
                      const std::string& groups) {
  if (logits.size() != labels.size() * sizeof(float)) {
    return absl::InvalidArgumentError(StrCat("a scored lease holds ", labels.size(), " labels but ",
                                             logits.size(), " bytes of logits"));
  }
  if (!groups.empty() && groups.size() != labels.size() * sizeof(std::uint64_t)) {
    return absl::InvalidArgumentError(StrCat("a scored lease holds ", labels.size(), " labels but ",
                                             groups.size(), " bytes of groups"));
  }
  if (std::any_of(labels.begin(), labels.end(),
                  [](char label) { return label != 0 && label != 1; })) {
    return absl::InvalidArgumentError("a scored lease holds a label that is not 0 or 1");
  }
  if (labels.empty()) return OkStatus();
  Scores& piece = pieces_[position];
  piece.logits.resize(labels.size());
  std::memcpy(piece.logits.data(), logits.data(), logits.size());
  piece.labels.assign(labels.begin(), labels.end());
  piece.groups.resize(groups.size() / sizeof(std::uint64_t));
  if (!groups.empty()) std::memcpy(piece.groups.data(), groups.data(), groups.size());
  return OkStatus();
}

ScoreBook::Scores ScoreBook::Take() {
  std::size_t rows = 0;
  for (const auto& [position, piece] : pieces_) rows += piece.labels.size();
  Scores all;
  all.logits.reserve(rows);
  all.labels.reserve(rows);
  for (auto& [position, piece] : pieces_) {
    all.logits.insert(all.logits.end(), piece.logits.begin(), piece.logits.end());
    all.labels.insert(all.labels.end(), piece.labels.begin(), piece.labels.end());
    all.groups.insert(all.groups.end(), piece.groups.begin(), piece.groups.end());
    piece = Scores();
  }
  pieces_.clear();
  return all;
}

}  // namespace cairn::launch
