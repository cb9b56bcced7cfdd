// Which rows are removed for good.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <span>

#include "ps/table/row_layout.h"

namespace cairn::ps {

enum class EvictionReason { kNone, kAge, kCount, kNorm };
inline constexpr std::size_t kEvictionReasons = 4;

// When a row is looked at. Ages are counted in pushes to the server.
struct EvictionTime {
  std::uint64_t now = 0;        // number of the last push
  std::uint64_t last_step = 0;  // rows of a later step stay: the log may tell of them again
};

// As EvictionConfig has it; 0: no such rule.
struct EvictionRule {
  std::uint64_t max_age = 0;
  std::uint32_t min_count = 0;
  double min_norm = 0;
  std::uint64_t min_age = 0;  // from which min_count and min_norm count

  bool evicts() const { return max_age > 0 || min_count > 0 || min_norm > 0; }
  // No row is named that is younger.
  std::uint64_t ShortestAge() const {
    constexpr auto kNever = std::numeric_limits<std::uint64_t>::max();
    return std::min(max_age > 0 ? max_age : kNever,
                    min_count > 0 || min_norm > 0 ? min_age : kNever);
  }

  // squared_norm() of the row's value is asked for only where it matters.
  template <typename SquaredNorm>
  EvictionReason ReasonFor(const RowMetadata& row, const EvictionTime& time,
                           SquaredNorm squared_norm) const {
    if (row.last_step > time.last_step) return EvictionReason::kNone;
    const std::uint64_t age = time.now > row.last_step ? time.now - row.last_step : 0;
    if (max_age > 0 && age >= max_age) return EvictionReason::kAge;
    if (age < min_age) return EvictionReason::kNone;
    if (row.count < min_count) return EvictionReason::kCount;
    if (min_norm > 0 && squared_norm() < min_norm * min_norm) return EvictionReason::kNorm;
    return EvictionReason::kNone;
  }
};

inline double SquaredNorm(std::span<const float> value) {
  double sum = 0;
  for (const float x : value) sum += static_cast<double>(x) * static_cast<double>(x);
  return sum;
}

}  // namespace cairn::ps
