// Counter-based random numbers: the n-th number of a stream is a pure function of (seed, stream,
// n), so that nothing depends on arrival order, thread or shard. Philox4x32-10 (Salmon, Moraes,
// Dror, Shaw, SC'11). The values are part of the checkpoint format (initial rows, shuffles): never
// change them, add another function.
#pragma once

#include <array>
#include <cstdint>
#include <span>

namespace cairn {

// One block of four 32-bit words for (key, counter).
std::array<std::uint32_t, 4> Philox4x32(std::uint64_t key, std::uint64_t counter_lo,
                                        std::uint64_t counter_hi);

// A sequential view of one stream. Copyable; not thread-safe.
class Rng {
 public:
  Rng(std::uint64_t seed, std::uint64_t stream) : seed_(seed), stream_(stream) {}

  std::uint32_t NextU32();
  std::uint64_t NextU64();
  // Uniform in [0, 1) with 24 bits, and with 53 bits.
  float NextFloat() { return static_cast<float>(NextU32() >> 8) * 0x1.0p-24f; }
  double NextDouble() { return static_cast<double>(NextU64() >> 11) * 0x1.0p-53; }
  // Uniform in [0, n), n > 0, without modulo bias (Lemire 2019).
  std::uint64_t NextBelow(std::uint64_t n);
  // Standard normal (Box-Muller, both values used in turn).
  double NextNormal();

 private:
  std::uint64_t seed_;
  std::uint64_t stream_;
  std::uint64_t block_ = 0;
  std::array<std::uint32_t, 4> words_{};
  int used_ = 4;
  bool has_spare_ = false;
  double spare_ = 0;
};

// Fills `out` with uniforms in [low, high), or normals of (mean, stddev), of stream (seed, stream).
void FillUniform(std::uint64_t seed, std::uint64_t stream, float low, float high,
                 std::span<float> out);
void FillNormal(std::uint64_t seed, std::uint64_t stream, float mean, float stddev,
                std::span<float> out);

}  // namespace cairn
