#include "common/math/rng.h"

#include <cmath>
#include <numbers>

namespace cairn {

__extension__ typedef unsigned __int128 Uint128;

std::array<std::uint32_t, 4> Philox4x32(std::uint64_t key, std::uint64_t counter_lo,
                                        std::uint64_t counter_hi) {
  std::uint32_t c0 = static_cast<std::uint32_t>(counter_lo);
  std::uint32_t c1 = static_cast<std::uint32_t>(counter_lo >> 32);
  std::uint32_t c2 = static_cast<std::uint32_t>(counter_hi);
  std::uint32_t c3 = static_cast<std::uint32_t>(counter_hi >> 32);
  std::uint32_t k0 = static_cast<std::uint32_t>(key);
  std::uint32_t k1 = static_cast<std::uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = 0xD2511F53ull * c0;
    const std::uint64_t p1 = 0xCD9E8D57ull * c2;
    const std::uint32_t n0 = static_cast<std::uint32_t>(p1 >> 32) ^ c1 ^ k0;
    const std::uint32_t n2 = static_cast<std::uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c1 = static_cast<std::uint32_t>(p1);
    c3 = static_cast<std::uint32_t>(p0);
    c0 = n0;
    c2 = n2;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {c0, c1, c2, c3};
}

std::uint32_t Rng::NextU32() {
  if (used_ == 4) {
    words_ = Philox4x32(seed_, block_++, stream_);
    used_ = 0;
  }
  return words_[static_cast<std::size_t>(used_++)];
}

std::uint64_t Rng::NextU64() {
  const std::uint64_t low = NextU32();
  return (static_cast<std::uint64_t>(NextU32()) << 32) | low;
}

std::uint64_t Rng::NextBelow(std::uint64_t n) {
  const std::uint64_t threshold = (0 - n) % n;
  for (;;) {
    const auto product = static_cast<Uint128>(NextU64()) * n;
    if (static_cast<std::uint64_t>(product) >= threshold)
      return static_cast<std::uint64_t>(product >> 64);
  }
}

double Rng::NextNormal() {
  if (has_spare_) {
    has_spare_ = false;
    return spare_;
  }
  const double radius = std::sqrt(-2.0 * std::log(1.0 - NextDouble()));
  const double angle = 2.0 * std::numbers::pi * NextDouble();
  spare_ = radius * std::sin(angle);
  has_spare_ = true;
  return radius * std::cos(angle);
}

void FillUniform(std::uint64_t seed, std::uint64_t stream, float low, float high,
                 std::span<float> out) {
  Rng rng(seed, stream);
  for (float& x : out) x = low + (high - low) * rng.NextFloat();
}

void FillNormal(std::uint64_t seed, std::uint64_t stream, float mean, float stddev,
                std::span<float> out) {
  Rng rng(seed, stream);
  for (float& x : out) x = mean + stddev * static_cast<float>(rng.NextNormal());
}

}  // namespace cairn
