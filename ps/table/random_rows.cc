#include "ps/table/random_rows.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

namespace cairn::ps {
namespace {

// A lane makes one Philox block, four floats. Lanes are worked off in groups that vectorise.
constexpr std::size_t kLanes = 64;

// Structure of arrays: words[i][lane]. On entry the counters, on return the random words.
struct Lanes {
  alignas(64) std::uint32_t words[4][kLanes];
};

CAIRN_KERNEL_BODY void PhiloxBody(Lanes& lanes, std::size_t n, std::uint64_t stream) {
  auto* __restrict c0 = lanes.words[0];
  auto* __restrict c1 = lanes.words[1];
  auto* __restrict c2 = lanes.words[2];
  auto* __restrict c3 = lanes.words[3];
  std::uint32_t k0 = static_cast<std::uint32_t>(stream);
  std::uint32_t k1 = static_cast<std::uint32_t>(stream >> 32);
  for (int round = 0; round < 10; ++round) {
    for (std::size_t i = 0; i < n; ++i) {
      const std::uint64_t p0 = 0xD2511F53ull * c0[i];
      const std::uint64_t p1 = 0xCD9E8D57ull * c2[i];
      c0[i] = static_cast<std::uint32_t>(p1 >> 32) ^ c1[i] ^ k0;
      c2[i] = static_cast<std::uint32_t>(p0 >> 32) ^ c3[i] ^ k1;
      c1[i] = static_cast<std::uint32_t>(p1);
      c3[i] = static_cast<std::uint32_t>(p0);
    }
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
}

// ln(u) for u in (0, 1], error below 2e-7 relative: u = 2^e * (1 + f), 1 + f in [sqrt(1/2),
// sqrt(2)), ln(1 + f) by the polynomial of Cephes' logf (Moshier).
CAIRN_KERNEL_BODY float LogOfUniform(float u) {
  const auto bits = std::bit_cast<std::int32_t>(u);
  const std::int32_t shifted = bits - 0x3f3504f3;  // 0x3f3504f3: sqrt(1/2)
  const std::int32_t exponent = shifted >> 23;
  const float f = std::bit_cast<float>(bits - (exponent << 23)) - 1.0f;
  const auto e = static_cast<float>(exponent);
  float p = 7.0376836292e-2f;
  p = p * f - 1.1514610310e-1f;
  p = p * f + 1.1676998740e-1f;
  p = p * f - 1.2420140846e-1f;
  p = p * f + 1.4249322787e-1f;
  p = p * f - 1.6668057665e-1f;
  p = p * f + 2.0000714765e-1f;
  p = p * f - 2.4999993993e-1f;
  p = p * f + 3.3333331174e-1f;
  const float z = f * f;
  return (p * f * z - 0.5f * z) + e * 0.693359375f + e * -2.12194440e-4f + f;
}

// cos and sin of 2*pi*t, t in [0, 1): the nearest quarter turn is taken off exactly, the rest (at
// most 1/8 turn) goes through the polynomials of Cephes' sinf and cosf.
CAIRN_KERNEL_BODY void CosSinOfTurn(float t, float* cosine, float* sine) {
  const auto quarter = static_cast<std::int32_t>(t * 4.0f + 0.5f);
  const float x = (t - static_cast<float>(quarter) * 0.25f) * 6.28318530718f;
  const float z = x * x;
  const float s = ((-1.9515295891e-4f * z + 8.3321608736e-3f) * z - 1.6666654611e-1f) * z * x + x;
  const float c =
      ((2.443315711809948e-5f * z - 1.388731625493765e-3f) * z + 4.166664568298827e-2f) * z * z -
      0.5f * z + 1.0f;
  const bool swap = (quarter & 1) != 0;
  const float a = swap ? s : c;
  const float b = swap ? c : s;
  *cosine = ((quarter + 1) & 2) != 0 ? -a : a;
  *sine = (quarter & 2) != 0 ? -b : b;
}

CAIRN_KERNEL_BODY void NormalBody(Lanes& lanes, std::size_t n, std::uint64_t stream, float scale,
                                  float* __restrict out) {
  PhiloxBody(lanes, n, stream);
  for (std::size_t i = 0; i < n; ++i) {
    for (int pair = 0; pair < 2; ++pair) {
      const auto radius_bits = static_cast<std::int32_t>(lanes.words[2 * pair][i] >> 8) + 1;
      const auto angle_bits = static_cast<std::int32_t>(lanes.words[2 * pair + 1][i] >> 8);
      const float u = static_cast<float>(radius_bits) * 0x1.0p-24f;
      const float radius = scale * std::sqrt(-2.0f * LogOfUniform(u));
      float cosine, sine;
      CosSinOfTurn(static_cast<float>(angle_bits) * 0x1.0p-24f, &cosine, &sine);
      out[4 * i + 2 * pair] = radius * cosine;
      out[4 * i + 2 * pair + 1] = radius * sine;
    }
  }
}
CAIRN_KERNEL_BODY void UniformBody(Lanes& lanes, std::size_t n, std::uint64_t stream, float scale,
                                   float* __restrict out) {
  PhiloxBody(lanes, n, stream);
  for (std::size_t i = 0; i < n; ++i) {
    for (int word = 0; word < 4; ++word) {
      const auto bits = static_cast<std::int32_t>(lanes.words[word][i] >> 8) - (1 << 23);
      out[4 * i + word] = scale * (static_cast<float>(bits) * 0x1.0p-23f);
    }
  }
}
using LaneKernel = void(Lanes&, std::size_t, std::uint64_t, float, float*);
CAIRN_DEFINE_KERNEL(NormalLanes, NormalBody,
                    (Lanes & lanes, std::size_t n, std::uint64_t stream, float scale, float* out),
                    (lanes, n, stream, scale, out))
CAIRN_DEFINE_KERNEL(UniformLanes, UniformBody,
                    (Lanes & lanes, std::size_t n, std::uint64_t stream, float scale, float* out),
                    (lanes, n, stream, scale, out))

}  // namespace

void FillRandomRows(Isa isa, RandomKind kind, float scale, std::uint64_t stream,
                    std::span<const std::uint64_t> keys, std::size_t dim, float* const* rows) {
  LaneKernel* const kernel = kind == RandomKind::kNormal ? CAIRN_PICK_KERNEL(isa, NormalLanes)
                                                         : CAIRN_PICK_KERNEL(isa, UniformLanes);
  const std::size_t blocks = (dim + 3) / 4;
  const std::size_t total = keys.size() * blocks;
  Lanes lanes;
  alignas(64) float out[4 * kLanes];
  for (std::size_t begin = 0; begin < total; begin += kLanes) {
    const std::size_t n = std::min(kLanes, total - begin);
    for (std::size_t i = 0; i < n; ++i) {
      const std::uint64_t key = keys[(begin + i) / blocks];
      lanes.words[0][i] = static_cast<std::uint32_t>((begin + i) % blocks);
      lanes.words[1][i] = 0;
      lanes.words[2][i] = static_cast<std::uint32_t>(key);
      lanes.words[3][i] = static_cast<std::uint32_t>(key >> 32);
    }
    kernel(lanes, n, stream, scale, out);
    for (std::size_t i = 0; i < n; ++i) {
      const std::size_t at = 4 * ((begin + i) % blocks);
      std::memcpy(rows[(begin + i) / blocks] + at, out + 4 * i,
                  std::min<std::size_t>(4, dim - at) * sizeof(float));
    }
  }
}

}  // namespace cairn::ps
