#include "ps/optim/finite.h"

#include <algorithm>
#include <bit>
#include <cstdint>

#include "ps/optim/isa.h"

namespace cairn::ps {
namespace {

constexpr std::uint32_t kExponentBits = 0x7f800000u;

// Adds up, over all values, whether the exponent has all its bits set.
CAIRN_KERNEL_BODY void CountBody(const float* values, std::size_t n, std::uint32_t* count) {
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < n; ++i) {
    sum += (std::bit_cast<std::uint32_t>(values[i]) & kExponentBits) == kExponentBits ? 1u : 0u;
  }
  *count = sum;
}
CAIRN_DEFINE_KERNEL(CountNonFinite, CountBody,
                    (const float* values, std::size_t n, std::uint32_t* count), (values, n, count))

}  // namespace

std::optional<std::size_t> FirstNonFinite(std::span<const float> values) {
  static const auto count_kernel = CAIRN_PICK_KERNEL(BestIsa(), CountNonFinite);
  constexpr std::size_t kPiece = 1 << 16;
  for (std::size_t begin = 0; begin < values.size(); begin += kPiece) {
    const auto piece = values.subspan(begin, std::min(kPiece, values.size() - begin));
    std::uint32_t count = 0;
    count_kernel(piece.data(), piece.size(), &count);
    if (count == 0) continue;
    for (std::size_t i = 0; i < piece.size(); ++i) {
      if ((std::bit_cast<std::uint32_t>(piece[i]) & kExponentBits) == kExponentBits) {
        return begin + i;
      }
    }
  }
  return std::nullopt;
}

}  // namespace cairn::ps
